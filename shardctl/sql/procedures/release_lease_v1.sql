-- Give the lease back, so that another need not wait for its end. Nothing happens if it is not the current one.
-- Lock: control.leadership.
create or replace function release_lease_v1(p_number bigint) returns void
language sql security definer set search_path from current as $$
    update leadership set expires_at = '-infinity' where number = p_number
$$;
revoke all on function release_lease_v1 from public;
grant execute on function release_lease_v1 to control_leader;
