-- Persist how far a running step has come; the next attempt goes on from there. SQLSTATE RBC10, RBC14 (as
-- begin_step_v1: a long step stops at its next checkpoint). Lock: control.leadership (shared), the operation's row.
create or replace function checkpoint_step_v1(
    p_lease bigint, p_operation bigint, p_position integer, p_progress jsonb, p_detail text
) returns void language plpgsql security definer set search_path from current as $$
declare
    held operations;
    step_key text;
begin
    perform check_lease_v1(p_lease);
    select * into strict held from operations where operation_id = p_operation for update;
    update operation_steps s set progress = p_progress, detail = left(p_detail, 2000)
     where s.operation_id = p_operation and s.position = p_position
    returning key into strict step_key;
    perform note_event_v1(p_operation, 'step_progress', step_key, p_detail);
    if held.cancel_asked_by is not null and held.state = 'running' then
        raise exception 'operation % is to be cancelled', p_operation using errcode = 'RBC14';
    end if;
end $$;
revoke all on function checkpoint_step_v1 from public;
grant execute on function checkpoint_step_v1 to control_leader;
