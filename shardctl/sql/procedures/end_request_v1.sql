-- Append how a request ended whose effect is not certain: its answer is a fault. If an operation goes on by it after
-- all (its commit was not heard of), nothing is appended: the operation's end is the outcome. What is still on its way
-- to the database is refused when it comes (`refuse_ended_v1`), so no operation begins by a request that failed.
-- Result: the number of the new row, or null. Lock: control.operations against creators and resumers, then
-- control.audit_lock.
create or replace function end_request_v1(p_attempt bigint, p_outcome text, p_detail text) returns bigint
language plpgsql security definer set search_path from current as $$
begin
    lock table operations in share row exclusive mode;
    if exists (select from operations o where o.attempt = p_attempt) then
        return null;
    end if;
    return end_audit_v1(p_attempt, p_outcome, p_detail);
end $$;
revoke all on function end_request_v1 from public;
grant execute on function end_request_v1 to control_leader;
