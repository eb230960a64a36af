-- Forget idempotency keys older than the retention, a bounded number per call; whatever the caller says, never one that
-- is younger than seven days: customers were promised that a repeat is a repeat for so long. Result: rows deleted. A
-- row that somebody holds is passed over, and stops no other; so are those of a user who moves.
create or replace function prune_idempotency_keys_v1(p_before timestamptz, p_limit integer) returns bigint
language sql security definer
set search_path from current
as $$
    with bound as materialized (select least(p_before, age_clock_v1() - interval '7 days') as at),
    old as (
        select k.user_id, k.key from idempotency_keys k
         where k.at < (select b.at from bound b)
           and not exists (select from users u where u.user_id = k.user_id and u.operation_id is not null)
         limit least(p_limit, 10000) for update skip locked
    ),
    gone as (delete from idempotency_keys k using old where k.user_id = old.user_id and k.key = old.key returning 1)
    select count(*) from gone
$$;
