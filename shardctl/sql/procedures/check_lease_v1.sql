-- The fence: the caller's transaction goes on only as the current leader's, and until it ends nobody else can lead.
-- The time is read after the lock, because a wait for it may outlast the lease.
-- SQLSTATE RBC10: the number is not the current lease's, or that has expired. Lock: control.leadership, shared.
create or replace function check_lease_v1(p_number bigint) returns void
language plpgsql security definer set search_path from current as $$
declare
    held leadership;
begin
    select * into held from leadership for share;
    if held.number is distinct from p_number or held.expires_at <= clock_timestamp() then
        raise exception 'lease % is over', p_number using errcode = 'RBC10';
    end if;
end $$;
revoke all on function check_lease_v1 from public;
grant execute on function check_lease_v1 to control_leader;
