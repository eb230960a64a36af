-- Persist that a step is about to act, or to be undone. p_intent: what this attempt would decide (a key's id, what was
-- there before); the first attempt's stands, and is the result. SQLSTATE RBC10; RBC14: the operation is to be
-- cancelled, so nothing further begins. Lock: control.leadership (shared), the operation's row.
create or replace function begin_step_v1(
    p_lease bigint, p_operation bigint, p_position integer, p_intent jsonb, p_undo boolean
) returns jsonb language plpgsql security definer set search_path from current as $$
declare
    held operations;
    step operation_steps;
begin
    perform check_lease_v1(p_lease);
    select * into strict held from operations where operation_id = p_operation for update;
    if not p_undo and held.cancel_asked_by is not null then
        raise exception 'operation % is to be cancelled', p_operation using errcode = 'RBC14';
    end if;
    if held.state <> (case when p_undo then 'cancelling' else 'running' end) then
        raise exception 'operation % is %', p_operation, held.state using errcode = 'RBC13';
    end if;
    update operation_steps s
       set state = case when p_undo then 'undoing' else 'running' end,
           attempts = s.attempts + case when p_undo then 0 else 1 end,
           intent = coalesce(s.intent, p_intent), begun_at = coalesce(s.begun_at, clock_v1()), ended_at = null
     where s.operation_id = p_operation and s.position = p_position
    returning * into strict step;
    perform note_event_v1(p_operation, case when p_undo then 'step_undoing' else 'step_begun' end, step.key,
        case when step.attempts > 1 then format('attempt %s', step.attempts) end);
    return step.intent;
end $$;
revoke all on function begin_step_v1 from public;
grant execute on function begin_step_v1 to control_leader;
