-- Keep the rollups small. Minutes before p_before go, whatever the caller says never one of the last day. Of minutes
-- that were over ten minutes ago the p_symbols busiest symbols (by orders and fills) stay apart, and the others are
-- added up under '*'. What a relay that was behind adds to such a minute later stands apart until the next call; a
-- symbol that was folded before then shows less than it had: its other part is in '*'.
-- A bounded number of minutes per call. Result: minutes that were deleted or folded.
-- Lock: minutes' rows (those that the relay holds are passed over), then their symbols'.
create or replace function prune_rollups_v1(p_before timestamptz, p_symbols integer, p_minutes integer)
    returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
    now_at constant timestamptz := age_clock_v1();
    minutes_max constant integer := 1440;
    old timestamptz[];
    closed timestamptz[];
begin
    select array_agg(r.minute) into old from (
        select minute from rollups where minute < least(p_before, now_at - interval '1 day')
         order by minute limit least(p_minutes, minutes_max) for update skip locked
    ) r;
    delete from symbol_rollups where minute = any (old);
    delete from rollups where minute = any (old);

    select array_agg(r.minute) into closed from (
        select minute from rollups where not is_folded and minute < now_at - interval '11 minutes'
         order by minute limit least(p_minutes, minutes_max) for update skip locked
    ) r;
    with ranked as (
        select s.minute, s.symbol,
               row_number() over (partition by s.minute order by s.orders + s.fills desc, s.symbol) as place
          from symbol_rollups s where s.minute = any (closed) and s.symbol <> '*'
    ),
    gone as (
        delete from symbol_rollups s using ranked r
         where s.minute = r.minute and s.symbol = r.symbol and r.place > greatest(p_symbols, 1) returning s.*
    )
    insert into symbol_rollups as r
    select g.minute, '*', sum(g.orders), sum(g.fills), sum(g.rejects), sum(g.taken_back), sum(g.qty_micros),
           sum(g.volume_exact)
      from gone g group by g.minute order by g.minute
        on conflict (minute, symbol) do update
       set orders = r.orders + excluded.orders, fills = r.fills + excluded.fills,
           rejects = r.rejects + excluded.rejects, taken_back = r.taken_back + excluded.taken_back,
           qty_micros = r.qty_micros + excluded.qty_micros, volume_exact = r.volume_exact + excluded.volume_exact;
    update rollups set is_folded = true where minute = any (closed);
    return coalesce(cardinality(old), 0) + coalesce(cardinality(closed), 0);
end $$;
