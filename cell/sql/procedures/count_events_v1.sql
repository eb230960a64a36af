-- What these outbox rows told, from the books, by minute of the events' own time and by symbol: as the relay counts it
-- (`cell/outbox/counting.py`), for the case that other rows were deleted than it named. A test compares the two.
-- Result: {orders: [{minute_s, symbol, orders, fills, rejects, taken_back, qty_micros, volume_exact}],
--          cash: [{minute_s, in_micros, out_micros}]}. Lock: none.
create or replace function count_events_v1(
    p_user_ids uuid[], p_order_ids uuid[], p_order_event_seqs integer[], p_entry_seqs bigint[]
) returns jsonb
language sql stable
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
    with facts as (
        select extract(epoch from date_bin('1 minute', e.at, 'epoch'))::bigint as minute_s, o.symbol,
               e.seq = 3 and e.from_status = 'validated' as is_order,
               e.exec_id is not null and e.reason in ('fill', 'late fill') as is_fill,
               e.to_status = 'rejected' and e.from_status <> 'rejected' as is_reject,
               e.exec_id is not null and e.reason in ('bust', 'correction') as is_taken_back,
               e.last_qty_micros as qty, e.last_px_micros as px
          from unnest(p_user_ids, p_order_ids, p_order_event_seqs) g (user_id, order_id, seq)
          join order_events e on e.user_id = g.user_id and e.order_id = g.order_id and e.seq = g.seq
          join orders o on o.user_id = e.user_id and o.order_id = e.order_id
    ),
    counts as (
        select minute_s, symbol, count(*) filter (where is_order) as orders, count(*) filter (where is_fill) as fills,
               count(*) filter (where is_reject) as rejects, count(*) filter (where is_taken_back) as taken_back,
               coalesce(sum(qty) filter (where is_fill), 0) as qty_micros,
               coalesce(sum(qty::numeric * px) filter (where is_fill), 0) as volume_exact
          from facts where is_order or is_fill or is_reject or is_taken_back group by minute_s, symbol
    ),
    cash as (   -- an entry without an order: a deposit, a transfer
        select extract(epoch from date_bin('1 minute', j.occurred_at, 'epoch'))::bigint as minute_s,
               coalesce(sum(p.amount_micros) filter (where p.direction = 'debit'), 0) as in_micros,
               coalesce(sum(p.amount_micros) filter (where p.direction = 'credit'), 0) as out_micros
          from unnest(p_user_ids, p_order_ids, p_entry_seqs) g (user_id, order_id, entry_seq)
          join journal_entries j on j.user_id = g.user_id and j.seq = g.entry_seq
          join postings p on p.user_id = j.user_id and p.entry_seq = j.seq and p.account = 'bank'
         where g.order_id is null
         group by 1
    )
    select jsonb_build_object('orders', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from counts c),
                              'cash', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from cash c))
$$;
