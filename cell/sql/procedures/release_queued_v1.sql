-- Send up to p_limit orders that waited for the open on their way (`queued` -> `funds_held` with an instruction to submit),
-- those of the earliest open first. Only while the market is open: a session that fell out of the calendar opens nothing.
-- A day order whose session is over already is left to expire.
-- Result: how many were released, and how many of the due ones were put off because another writer had the user.
-- Lock order: candidates without locks, then users by id (SKIP LOCKED), then everything is read again.
create or replace function brokerage.release_queued_v1(p_limit integer, p_at timestamptz, p_market_hours text)
returns table (released integer, put_off integer)
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    due_users uuid[];
    due_orders uuid[];
    locked uuid[];
    round_users uuid[];
    round_orders uuid[];
    moved integer := 0;
begin
    if p_market_hours <> 'always' and not market_is_open_v1(p_at) then
        return query select 0, 0;
        return;
    end if;
    select array_agg(d.user_id), array_agg(d.order_id) into due_users, due_orders from (
        select q.user_id, q.order_id
          from queued_orders q
          join users u on u.user_id = q.user_id and ownership_v1(u.owner_state, u.lease_ends_at) is null
          join orders o on o.user_id = q.user_id and o.order_id = q.order_id and coalesce(o.expires_at > p_at, true)
         where q.release_at <= p_at or p_market_hours = 'always'
         order by q.release_at, q.order_id limit p_limit
    ) d;
    if due_users is null then
        return query select 0, 0;
        return;
    end if;
    locked := lock_users_v1(due_users, false);
    loop  -- one order per user and round, each user's in the order in which they came
        select array_agg(n.user_id), array_agg(n.order_id) into round_users, round_orders from (
            select distinct on (d.user_id) d.user_id, d.order_id
              from unnest(due_users, due_orders) with ordinality as d (user_id, order_id, place)
             where d.user_id = any (locked)
             order by d.user_id, d.place
        ) n;
        exit when round_users is null;
        moved := moved + move_orders_v1(round_users, round_orders, array['queued'], 'funds_held', 'the market is open', 'submit', p_at);
        select array_agg(d.user_id order by d.place), array_agg(d.order_id order by d.place) into due_users, due_orders
          from unnest(due_users, due_orders) with ordinality as d (user_id, order_id, place)
         where d.order_id <> all (round_orders);
        exit when due_users is null;
    end loop;
    return query select moved, (select count(*)::integer from unnest(due_users) d (user_id));
end $$;
