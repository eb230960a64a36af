-- Take over which symbols the venue has price bands of its own for; every other symbol has none from now on.
-- Symbols that nobody knows yet are passed over: their price comes first. Lock order: symbols by name; no user is
-- touched.
create or replace function set_price_bands_v1(p_symbols text[], p_low_pxs bigint[], p_high_pxs bigint[])
returns void language sql security definer
set search_path from current
as $$
    with given as (
        select distinct on (symbol) symbol, low_px, high_px
          from unnest(p_symbols, p_low_pxs, p_high_pxs) as n (symbol, low_px, high_px) order by symbol
    ),
    changed as (
        select s.symbol, t.low_px, t.high_px
          from symbols s left join given t on t.symbol = s.symbol
         where (s.venue_low_px_micros, s.venue_high_px_micros) is distinct from (t.low_px, t.high_px)
         order by s.symbol for update of s
    )
    update symbols s set venue_low_px_micros = c.low_px, venue_high_px_micros = c.high_px from changed c
     where s.symbol = c.symbol
$$;
