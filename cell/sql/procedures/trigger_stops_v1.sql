-- Trigger the armed stops that these last prices reach (buy: last >= stop, sell: last <= stop), at most p_limit per call.
-- Each goes once from `armed` to `funds_held` with an instruction to submit it. A price that was told before a stop was
-- armed does not count: the entry saw it. Outside the session nothing triggers; the first price after the open decides.
-- A halted symbol's stops wait, as do those of users that are halted or gone.
--
-- Result: how many were triggered, and how many of the reached ones were put off because another writer had the user:
-- the caller repeats the call with the same prices, so that no touch is lost to a lock.
-- Lock order: candidates without locks, then users by id (SKIP LOCKED, or waiting with p_wait), then everything is read again.
create or replace function brokerage.trigger_stops_v1(
    p_symbols text[], p_prices bigint[], p_told_at timestamptz[], p_limit integer, p_at timestamptz,
    p_market_hours text default 'always', p_wait boolean default false
) returns table (triggered integer, put_off integer)
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    reached_users uuid[];
    reached_orders uuid[];
begin
    if p_market_hours <> 'always' and not market_is_open_v1(p_at) then
        return query select 0, 0;
        return;
    end if;
    select array_agg(r.user_id order by r.order_id), array_agg(r.order_id order by r.order_id) into reached_users, reached_orders from (
        select distinct a.user_id, a.order_id
          from unnest(p_symbols, p_prices, p_told_at) as p (symbol, price, told_at)
          join symbols s on s.symbol = p.symbol and not s.halted
          cross join lateral (
              select user_id, order_id, armed_at from armed_stops
               where symbol = p.symbol and side = 'buy' and stop_px_micros <= p.price
              union all
              select user_id, order_id, armed_at from armed_stops
               where symbol = p.symbol and side = 'sell' and stop_px_micros >= p.price
          ) a
          join users u on u.user_id = a.user_id and ownership_v1(u.owner_state, u.lease_ends_at) is null
         where a.armed_at <= p.told_at
         limit p_limit
    ) r;
    return query select r.moved, r.put_off
      from send_in_rounds_v1(reached_users, reached_orders, 'armed', 'stop reached', p_wait) r;
end $$;
