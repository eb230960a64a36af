-- Revocations that may still matter: tokens live for fifteen minutes.
-- Result: one row per user. SQLSTATE: none of ours. Locks: none.
create or replace function read_revocations_v1()
returns table (user_id uuid, not_before_s bigint)
language sql stable security definer set search_path from current as $$
    select r.user_id, r.not_before_s from revocations r
    where r.not_before_s > extract(epoch from clock_v1()) - 3600
    order by r.not_before_s desc limit 100000
$$;
revoke all on function read_revocations_v1 from public;
grant execute on function read_revocations_v1 to control_service, control_leader;
