-- Advance orders by the cell's own decision (a stop reached, the open, the end of the day): at most one order per user.
-- Not for callers outside: the procedures that use it lock the users first. As the service role it has no right to
-- write.
--
-- An order that is not in one of p_from any more is left alone. p_to decides the rest:
--   funds_held       an instruction to submit goes to the venue
--   pending_cancel   an instruction of kind p_action goes to the venue; the funds stay until it confirms
--   expired | cancelled   the funds come back now: only for orders that the venue never saw
-- In every case the order is neither armed nor queued any more. Result: how many were advanced.
create or replace function advance_orders_v1(
    p_user_ids uuid[], p_order_ids uuid[], p_from text[], p_to text, p_reason text, p_action text
) returns integer
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked_at constant timestamptz := clock_v1();
    advanced integer;
begin
    with judged as materialized (
        select o.user_id, o.order_id, o.status, o.side, o.symbol, o.cum_qty_micros, o.cum_cost_micros,
               u.epoch, u.chain_head, next_time_v1(locked_at, u.recorded_at) as recorded_at,
               p_to in ('expired', 'cancelled') as ends,
               o.event_seq + 1 as new_event_seq, u.write_seq + 1 as new_write_seq,
               u.order_event_seq + 1 as new_stream_seq,
               u.entry_seq + 1 as new_entry_seq,
               case o.side when 'buy' then 'cash' else 'shares' end as account,
               case o.side when 'buy' then 'USD' else o.symbol end as unit,
               case o.side when 'buy' then o.held_cash_micros else o.held_shares_micros end as amount,
               md5('release|' || o.order_id || '|' || (o.event_seq + 1))::uuid as entry_id
          from unnest(p_user_ids, p_order_ids) as c (user_id, order_id)
          join users u on u.user_id = c.user_id
          join orders o on o.user_id = c.user_id and o.order_id = c.order_id
         where o.status = any (p_from) and locked_ownership_v1(u.owner_state) is null
    ),
    chained as materialized (
        select j.*, case when j.ends then
                   entry_hash_v1(j.chain_head, j.user_id, j.new_entry_seq, j.entry_id, 'release', j.order_id,
                                 j.recorded_at,
                                 posting_line_v1(1, j.account || '_held', j.unit, 'debit', j.amount),
                                 posting_line_v1(2, j.account, j.unit, 'credit', j.amount)) end as hash
          from judged j
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  cum_qty_micros, cum_cost_micros)
        select user_id, order_id, new_event_seq, new_stream_seq, status, p_to, p_reason, recorded_at, cum_qty_micros,
               cum_cost_micros
          from chained
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, entry_id, 'release', order_id, recorded_at, chain_head, hash from chained
         where ends
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select c.user_id, c.new_entry_seq, l.line, c.account || l.suffix, c.unit, l.direction, c.amount
          from chained c
            cross join (values (1::smallint, '_held', 'debit'), (2::smallint, '', 'credit')) l (line, suffix, direction)
         where c.ends
    ),
    new_positions as (
        update positions p set qty_held_micros = p.qty_held_micros - c.amount
          from chained c where c.ends and c.side = 'sell' and p.user_id = c.user_id and p.symbol = c.symbol
    ),
    ended_stops as (
        delete from armed_stops a using chained c where a.user_id = c.user_id and a.order_id = c.order_id
    ),
    ended_queue as (
        delete from queued_orders q using chained c where q.user_id = c.user_id and q.order_id = c.order_id
    ),
    ended_instructions as (
        delete from venue_instructions i using chained c
         where c.ends and i.user_id = c.user_id and i.order_id = c.order_id
    ),
    new_instructions as (
        insert into venue_instructions (user_id, order_id, action, created_at)
        select user_id, order_id, p_action, recorded_at from chained where not ends
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                            occurred_at)
        select user_id, new_write_seq, epoch, order_id, new_event_seq, new_stream_seq,
               case when ends then new_entry_seq end, recorded_at
          from chained
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros + case when c.ends and c.side = 'buy' then c.amount else 0 end,
               cash_held_micros = u.cash_held_micros - case when c.ends and c.side = 'buy' then c.amount else 0 end,
               recorded_at = c.recorded_at, write_seq = c.new_write_seq, order_event_seq = c.new_stream_seq,
               entry_seq = case when c.ends then c.new_entry_seq else u.entry_seq end,
               chain_head = case when c.ends then c.hash else u.chain_head end
          from chained c where u.user_id = c.user_id
    )
    update orders o
       set status = p_to, event_seq = c.new_event_seq, write_seq = c.new_write_seq, updated_at = c.recorded_at,
           held_cash_micros = case when c.ends then 0 else o.held_cash_micros end,
           held_shares_micros = case when c.ends then 0 else o.held_shares_micros end
      from chained c where o.user_id = c.user_id and o.order_id = c.order_id;
    get diagnostics advanced = row_count;
    return advanced;
end $$;
