-- Find the armed stops that a published price touches (buy: price >= stop, sell: price <= stop; price number > the
-- stop's mark) and note them in reached_stops, at most p_limit per call. A fact about the market: no user is locked,
-- none is waited for, and a later price that turns back changes nothing. Only a price of a session counts, by the time
-- at which it was published.
--
-- Why no touch is lost to a stop that is being placed. A placement locks its user (and so has its transaction id), then
-- reads the price row in a later statement; its stop's mark is that price's number. If it reads before a price is
-- written, its stop may commit after the price was judged: that look cannot see it. So a price is not forgotten when it
-- was judged first. In that look, which sees the price, this call takes a transaction id: every placement that did not
-- see the price has a lower one. The price is judged again, and goes, when every transaction below that id has ended:
-- then each such stop is visible or will never be. In between the newest prices are judged at every call, so that such
-- a stop waits for the next call and not for somebody's long transaction. No shared row is locked by an order for any
-- of this.
-- A stop that is seen twice is noted once. Killed anywhere: the rows say what is left to judge.
--
-- Result: how many stops were newly found reached. p_limit of them: call again. Lock order: none but rows of
-- published_prices.
create or replace function judge_stops_v1(p_limit integer, p_market_hours text default 'always')
returns integer language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    ended_before constant xid8 := pg_snapshot_xmin(pg_current_snapshot());   -- before anything below is read
    -- prices judged per call, each by a look or two into an index: after a long transaction the rest is for the next
    -- calls
    due_max constant integer := 20000;
    recent_max constant integer := 1000;
    looked_at bigint[];
    found integer;
begin
    select array_agg(t.id) into looked_at from (
        select d.id from (
            select id, sum(cardinality(symbols)) over (order by id) - cardinality(symbols) as before
              from published_prices where looked_by is null or looked_by <= ended_before) d
         where d.before < due_max
        union
        select r.id from (
            select id, sum(cardinality(symbols)) over (order by id desc) as total
              from (select id, symbols from published_prices order by id desc limit 8) newest) r
         where r.total <= recent_max
    ) t;
    if looked_at is null then
        return 0;
    end if;
    insert into reached_stops (user_id, order_id, number, px_micros)
    select distinct on (a.user_id, a.order_id) a.user_id, a.order_id, p.number, p.price
      from published_prices t
      cross join lateral unnest(t.symbols, t.prices, t.numbers) as p (symbol, price, number)
      cross join lateral (
          select user_id, order_id, mark from armed_stops
           where symbol = p.symbol and side = 'buy' and stop_px_micros <= p.price
          union all
          select user_id, order_id, mark from armed_stops
           where symbol = p.symbol and side = 'sell' and stop_px_micros >= p.price
      ) a
      join users u on u.user_id = a.user_id and u.owner_state in ('active', 'halted')   -- a copy is not an owner
     where t.id = any (looked_at) and a.mark < p.number
       and (p_market_hours = 'always' or market_is_open_v1(t.published_at))
       and not exists (select from reached_stops r where r.user_id = a.user_id and r.order_id = a.order_id)
     order by a.user_id, a.order_id, p.number desc
     limit p_limit
    on conflict do nothing;
    get diagnostics found = row_count;
    if found < p_limit then
        -- of what this call read; a row whose first look is this one stays for a second
        delete from published_prices where id = any (looked_at) and looked_by <= ended_before;
        update published_prices set looked_by = pg_current_xact_id() where id = any (looked_at) and looked_by is null;
    end if;
    return found;
end $$;
