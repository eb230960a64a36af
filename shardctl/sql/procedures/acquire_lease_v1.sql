-- Become the leader, if nobody is: the lease of the one before has expired, by this database's clock, or was given
-- back. Result: the lease's number, higher than any before it; null while somebody else leads. Lock:
-- control.leadership.
create or replace function acquire_lease_v1(p_holder text, p_life interval) returns bigint
language sql security definer set search_path from current as $$
    update leadership
       set number = number + 1, holder = p_holder, expires_at = clock_timestamp() + p_life
     where expires_at <= clock_timestamp()
    returning number
$$;
revoke all on function acquire_lease_v1 from public;
grant execute on function acquire_lease_v1 to control_leader;
