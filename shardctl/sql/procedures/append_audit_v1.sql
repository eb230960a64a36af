-- Append an attempt to the audit chain, before it is done. The time is the database's, so two operators' acts are in
-- order whatever their machines' clocks say.
-- Result: the number of the new row. Lock: control.audit_lock, until the transaction ends.
create or replace function append_audit_v1(
    p_subject text, p_role text, p_way text, p_act text, p_target text, p_reason text, p_arguments json
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    made bigint;
begin
    insert into audit (at, subject, role, way, act, target, arguments, reason)
    values (clock_v1(), p_subject, p_role, p_way, p_act, p_target, p_arguments, p_reason)
    returning number into made;
    return made;
end $$;
revoke all on function append_audit_v1 from public;
grant execute on function append_audit_v1 to control_leader;
