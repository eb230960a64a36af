-- Add counts to the rollups of their minutes and symbols; their form is that of `count_events_v1`. For
-- `delete_outbox_v1`, in its transaction. Not for callers outside: as the service role it has no right to write.
-- Lock: the minutes' rows, then the symbols'; both in order.
create or replace function add_to_rollups_v1(p_counts jsonb) returns void
language plpgsql
set search_path from current
as $$
declare
    counted symbol_rollups[];
begin
    select array_agg(row(to_timestamp(c.minute_s), c.symbol, c.orders, c.fills, c.rejects, c.taken_back, c.qty_micros,
                         c.volume_exact)::symbol_rollups)
      into counted
      from jsonb_to_recordset(p_counts -> 'orders') as c (minute_s bigint, symbol text, orders bigint, fills bigint,
           rejects bigint, taken_back bigint, qty_micros numeric, volume_exact numeric);
    if counted is not null then
        insert into rollups as r (minute, orders, fills, rejects, taken_back, volume_exact)
        select c.minute, sum(c.orders), sum(c.fills), sum(c.rejects), sum(c.taken_back), sum(c.volume_exact)
          from unnest(counted) c group by c.minute order by c.minute
            on conflict (minute) do update
           set orders = r.orders + excluded.orders, fills = r.fills + excluded.fills,
               rejects = r.rejects + excluded.rejects, taken_back = r.taken_back + excluded.taken_back,
               volume_exact = r.volume_exact + excluded.volume_exact, is_folded = false;
        insert into symbol_rollups as r
        select c.* from unnest(counted) c order by c.minute, c.symbol
            on conflict (minute, symbol) do update
           set orders = r.orders + excluded.orders, fills = r.fills + excluded.fills,
               rejects = r.rejects + excluded.rejects, taken_back = r.taken_back + excluded.taken_back,
               qty_micros = r.qty_micros + excluded.qty_micros, volume_exact = r.volume_exact + excluded.volume_exact;
    end if;
    if jsonb_array_length(p_counts -> 'cash') > 0 then
        insert into rollups as r (minute, cash_in_micros, cash_out_micros)
        select to_timestamp(c.minute_s), c.in_micros, c.out_micros
          from jsonb_to_recordset(p_counts -> 'cash') as c (minute_s bigint, in_micros bigint, out_micros bigint)
         order by c.minute_s
            on conflict (minute) do update
           set cash_in_micros = r.cash_in_micros + excluded.cash_in_micros,
               cash_out_micros = r.cash_out_micros + excluded.cash_out_micros;
    end if;
end $$;
