-- Count what these outbox rows told, by minute of the events' own time and by symbol. For `delete_outbox_v1`, in the
-- transaction that deletes them and with nothing but what it deleted, so nothing is counted twice or left out.
-- Not for callers outside: as the service role it has no right to write.
-- Lock: the minutes' rows, then the symbols'; both in order.
create or replace function brokerage.add_to_rollups_v1(
    p_user_ids uuid[], p_order_ids uuid[], p_order_event_seqs integer[], p_entry_seqs bigint[]
) returns void
language plpgsql
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    counted symbol_rollups[];
begin
    select array_agg(
               row(f.minute, f.symbol, f.orders, f.fills, f.rejects, f.taken_back, f.qty, f.volume)::symbol_rollups)
      into counted
      from (
        select date_bin('1 minute', e.at, 'epoch') as minute, o.symbol,
               count(*) filter (where e.seq = 3 and e.from_status = 'validated') as orders,
               count(*) filter (where e.exec_id is not null and e.reason in ('fill', 'late fill')) as fills,
               count(*) filter (where e.to_status = 'rejected' and e.from_status <> 'rejected') as rejects,
               count(*) filter (where e.exec_id is not null and e.reason in ('bust', 'correction')) as taken_back,
               coalesce(sum(e.last_qty_micros)
                        filter (where e.exec_id is not null and e.reason in ('fill', 'late fill')), 0) as qty,
               coalesce(sum(e.last_qty_micros::numeric * e.last_px_micros)
                        filter (where e.exec_id is not null and e.reason in ('fill', 'late fill')), 0) as volume
          from unnest(p_user_ids, p_order_ids, p_order_event_seqs) g (user_id, order_id, seq)
          join order_events e on e.user_id = g.user_id and e.order_id = g.order_id and e.seq = g.seq
          join orders o on o.user_id = e.user_id and o.order_id = e.order_id
         where (e.seq = 3 and e.from_status = 'validated') or (e.exec_id is not null and e.reason <> 'superseded')
            or (e.to_status = 'rejected' and e.from_status <> 'rejected')
         group by 1, 2
      ) f;
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
    -- an entry without an order: a deposit, a transfer
    insert into rollups as r (minute, cash_in_micros, cash_out_micros)
    select date_bin('1 minute', j.occurred_at, 'epoch') as minute,
           coalesce(sum(p.amount_micros) filter (where p.direction = 'debit'), 0),
           coalesce(sum(p.amount_micros) filter (where p.direction = 'credit'), 0)
      from unnest(p_user_ids, p_order_ids, p_entry_seqs) g (user_id, order_id, entry_seq)
      join journal_entries j on j.user_id = g.user_id and j.seq = g.entry_seq
      join postings p on p.user_id = j.user_id and p.entry_seq = j.seq and p.account = 'bank'
     where g.order_id is null and g.entry_seq is not null
     group by 1 order by 1
        on conflict (minute) do update
       set cash_in_micros = r.cash_in_micros + excluded.cash_in_micros,
           cash_out_micros = r.cash_out_micros + excluded.cash_out_micros;
end $$;
