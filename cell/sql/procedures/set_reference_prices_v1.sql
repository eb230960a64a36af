-- Take over what the market says of symbols: one row each, the newest time wins. New symbols become known and tradable.
-- Lock order: symbols by name; no user is touched.
create or replace function brokerage.set_reference_prices_v1(p_symbols text[], p_prices bigint[], p_at timestamptz)
returns void language sql security definer
set search_path = brokerage, pg_temp
as $$
    insert into symbols as s (symbol, reference_px_micros, reference_at)
    select distinct on (symbol) symbol, price, p_at from unnest(p_symbols, p_prices) as n (symbol, price) order by symbol
    on conflict (symbol) do update
       set reference_px_micros = excluded.reference_px_micros, reference_at = excluded.reference_at
     where s.reference_at is null or s.reference_at <= excluded.reference_at
$$;
