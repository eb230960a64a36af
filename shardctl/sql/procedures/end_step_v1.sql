-- Persist how an attempt of a step ended: `done`, `undone`, `failed` (the executor goes no further), or `again`
-- (another attempt follows). SQLSTATE RBC10. Lock: control.leadership (shared), the operation's row.
create or replace function end_step_v1(
    p_lease bigint, p_operation bigint, p_position integer, p_outcome text, p_result jsonb, p_detail text
) returns void language plpgsql security definer set search_path from current as $$
declare
    step_key text;
begin
    perform check_lease_v1(p_lease);
    perform 1 from operations where operation_id = p_operation for update;
    update operation_steps s
       set state = case when p_outcome = 'again' then s.state else p_outcome end,
           result = coalesce(p_result, s.result), detail = left(p_detail, 2000), ended_at = clock_v1()
     where s.operation_id = p_operation and s.position = p_position
    returning key into strict step_key;
    perform note_event_v1(p_operation, 'step_' || p_outcome, step_key, p_detail);
end $$;
revoke all on function end_step_v1 from public;
grant execute on function end_step_v1 to control_leader;
