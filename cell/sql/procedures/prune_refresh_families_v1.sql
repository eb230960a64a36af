-- Forget families of refresh tokens that ended or expired before a moment, a bounded number per call: their tokens are
-- refused either way. Whatever the caller says, none that ended less than seven days ago: until then it tells what
-- became of a login. Result: rows deleted. Lock: the rows themselves; one that a refresh holds is left for the next
-- call.
create or replace function prune_refresh_families_v1(p_before timestamptz, p_limit integer) returns bigint
language sql security definer
set search_path from current
as $$
    with bound as materialized (select least(p_before, age_clock_v1() - interval '7 days') as at),
    ended as (
        select user_id, family_id from refresh_families
         where ended_at < (select at from bound) limit least(p_limit, 10000) for update skip locked
    ),
    expired as (
        select user_id, family_id from refresh_families
         where expires_at < (select at from bound) limit least(p_limit, 10000) for update skip locked
    ),
    gone as (
        delete from refresh_families f using (table ended union table expired) old
         where f.user_id = old.user_id and f.family_id = old.family_id returning 1
    )
    select count(*) from gone
$$;
