-- Append how an attempt ended, once.
-- Result: the number of the new row; null if there is no such attempt, or its outcome is recorded already.
-- Lock: control.audit_lock, until the transaction ends.
create or replace function end_audit_v1(p_attempt bigint, p_outcome text, p_detail text) returns bigint
language sql security definer set search_path from current as $$
    insert into audit (at, ends, outcome, detail)
    select clock_v1(), p_attempt, p_outcome, left(p_detail, 2000)
    where exists (select from audit a where a.number = p_attempt and a.ends is null)
    on conflict (ends) do nothing
    returning number
$$;
revoke all on function end_audit_v1 from public;
grant execute on function end_audit_v1 to control_leader;
