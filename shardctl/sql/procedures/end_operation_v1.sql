-- The leader ends an operation, or (`cancelling`) begins to undo it. SQLSTATE RBC10, RBC13.
-- Lock: control.leadership (shared), the operation's row.
create or replace function end_operation_v1(
    p_lease bigint, p_operation bigint, p_state text, p_exit_code integer, p_detail text
) returns void language plpgsql security definer set search_path from current as $$
begin
    perform check_lease_v1(p_lease);
    perform enter_state_v1(p_operation, p_state, p_exit_code, p_detail);
end $$;
revoke all on function end_operation_v1 from public;
grant execute on function end_operation_v1 to control_leader;
