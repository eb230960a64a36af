-- Send orders on their way by the cell's own decision (p_from -> `funds_held` with an instruction to submit): one of a
-- user per round, each user's in the order given; who has many needs as many rounds. What is not p_from any more is
-- left alone.
-- Not for callers outside: the procedures that use it choose the orders without locks. As the service role it has no
-- right to write.
-- Result: how many were advanced, and how many were deferred because another writer had the user. Null arrays: none.
-- Lock order: users by id (SKIP LOCKED, or waiting with p_wait), then everything is read again.
create or replace function advance_in_rounds_v1(
    p_user_ids uuid[], p_order_ids uuid[], p_from text, p_reason text, p_wait boolean
) returns table (advanced integer, deferred integer)
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    locked constant uuid[] := lock_users_v1(p_user_ids, p_wait);
    this_round record;
begin
    advanced := 0;
    for this_round in
        select array_agg(n.user_id) as user_ids, array_agg(n.order_id) as order_ids from (
            select d.user_id, d.order_id, row_number() over (partition by d.user_id order by d.place) as number
              from unnest(p_user_ids, p_order_ids) with ordinality as d (user_id, order_id, place)
             where d.user_id = any (locked)
        ) n group by n.number order by n.number
    loop
        advanced := advanced
            + advance_orders_v1(this_round.user_ids, this_round.order_ids, array[p_from], 'funds_held', p_reason,
                                'submit');
    end loop;
    select count(*) into deferred from unnest(p_user_ids) as d (user_id) where d.user_id <> all (locked);
    return next;
end $$;
