-- The leader takes an operation up, for the first time or again. p_state_hash: of what the planner sees now; an
-- operation that has not begun and was planned from something else is refused (exit code 5) before it does anything.
-- Result: the state it is in now. SQLSTATE RBC10. Lock: control.leadership (shared), the operation's row.
create or replace function start_operation_v1(p_lease bigint, p_operation bigint, p_state_hash text) returns text
language plpgsql security definer set search_path from current as $$
declare
    held operations;
begin
    perform check_lease_v1(p_lease);
    select * into strict held from operations where operation_id = p_operation for update;
    if held.state = 'pending' and held.state_hash <> p_state_hash then
        perform enter_state_v1(p_operation, 'refused', 5, 'what it was planned for has changed: ask for a new plan');
    elsif held.state = 'pending' then
        perform enter_state_v1(p_operation, 'running');
    elsif held.state in ('running', 'cancelling') and held.lease_number <> p_lease then
        perform note_event_v1(p_operation, 'taken_up', null, format('by lease %s', p_lease));
    end if;
    update operations set lease_number = p_lease where operation_id = p_operation;
    return (select state from operations where operation_id = p_operation);
end $$;
revoke all on function start_operation_v1 from public;
grant execute on function start_operation_v1 to control_leader;
