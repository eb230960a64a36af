-- When a trade settles: the next session's day after the trade's (T+1); p_otherwise where the calendar does not know
-- it.
create or replace function settlement_date_v1(p_traded_on date, p_otherwise date) returns date
language sql stable security definer
set search_path from current
as $$
    select coalesce((select min(trade_date) from market_sessions where trade_date > p_traded_on), p_otherwise)
$$;
