-- Make the calendar's sessions those given, for the days from the first to the last of them; for the owner (`migrate`)
-- only. What has closed is history and stays as it was. A session that is new and over already has no orders to end.
-- Result: how many rows were written or removed.
create or replace function set_market_sessions_v1(
    p_dates date[], p_opens timestamptz[], p_closes timestamptz[], p_at timestamptz
) returns integer
language plpgsql
set search_path from current
as $$
declare
    written integer;
    removed integer;
begin
    delete from market_sessions
     where closes_at > p_at and trade_date between (select min(d) from unnest(p_dates) d)
         and (select max(d) from unnest(p_dates) d)
       and trade_date <> all (p_dates);
    get diagnostics removed = row_count;
    insert into market_sessions as m (trade_date, opens_at, closes_at, expired_at)
    select n.day, n.opens, n.closes, case when n.closes <= p_at then p_at end
      from unnest(p_dates, p_opens, p_closes) as n (day, opens, closes)
    on conflict (trade_date) do update set opens_at = excluded.opens_at, closes_at = excluded.closes_at
     where m.closes_at > p_at and (m.opens_at, m.closes_at) is distinct from (excluded.opens_at, excluded.closes_at);
    get diagnostics written = row_count;
    return written + removed;
end $$;
