-- Take over what the market says of symbols: the price with the highest number is the reference. New symbols become
-- known and tradable. A symbol may be named more than once: what it touched on its way to its last price is kept for
-- the stops, with the prices themselves in one transaction, so a process that is killed behind this call loses no touch
-- (judge_stops_v1). Prices of a halted symbol touch nothing.
-- p_numbers: the venue's, growing; null: each is one more than the symbol's last, and the newest time wins.
-- Lock order: symbols by name; no user is touched.
create or replace function set_reference_prices_v1(
    p_symbols text[], p_prices bigint[], p_at timestamptz, p_numbers bigint[] default null
) returns void language sql security definer
set search_path from current
as $$
    with published as materialized (
        select symbol, price, coalesce(number, 0) as number
          from unnest(p_symbols, p_prices, p_numbers) as n (symbol, price, number)
    ),
    written as (
        insert into symbols as s (symbol, reference_px_micros, reference_at, price_number)
        select distinct on (symbol) symbol, price, p_at, number from published order by symbol, number desc
        on conflict (symbol) do update
           set reference_px_micros = excluded.reference_px_micros, reference_at = excluded.reference_at,
               price_number = case when p_numbers is null then s.price_number + 1 else excluded.price_number end
         where case when p_numbers is null then s.reference_at is null or s.reference_at <= excluded.reference_at
                    else s.price_number <= excluded.price_number end
        returning symbol, price_number, halted
    )
    insert into published_prices (published_at, symbols, prices, numbers)
    select p_at, array_agg(t.symbol), array_agg(t.price),
           array_agg(case when p_numbers is null then w.price_number else t.number end)
      from published t join written w on w.symbol = t.symbol and not w.halted
    having count(*) > 0
$$;
