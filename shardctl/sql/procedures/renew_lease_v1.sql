-- Lead for another while. SQLSTATE RBC10: the lease has expired or is another's; whoever held it must stop, and may try
-- to acquire a new one. Lock: control.leadership.
create or replace function renew_lease_v1(p_number bigint, p_life interval) returns void
language plpgsql security definer set search_path from current as $$
begin
    update leadership set expires_at = clock_timestamp() + p_life
     where number = p_number and expires_at > clock_timestamp();
    if not found then
        raise exception 'lease % is over', p_number using errcode = 'RBC10';
    end if;
end $$;
revoke all on function renew_lease_v1 from public;
grant execute on function renew_lease_v1 to control_leader;
