-- The third part of apply_reports_v1: write what settle_reports_v1 found. Execution, events, entries, postings, lots,
-- position, instructions, outbox rows, orders and the user's row, of each report, in one statement.
-- A confirmed replacement's hold is the second entry of its write, and its event the second of the user's stream.
-- Not for callers outside: the users' rows are locked. As the service role it has no right to write.
create or replace function write_reports_v1(p_settled brokerage.settled_report[]) returns void
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    with settled as materialized (select s.* from unnest(p_settled) s),
    new_executions as (   -- a superseded one, too: its copies are known by it
        insert into executions (user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side,
                                last_qty_micros, last_px_micros, cost_micros, basis_micros, entry_seq, at,
                                kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros, settles_on,
                                owed_micros, stands_qty_micros, stands_px_micros, recorded_at)
        select user_id, order_id, venue, session, trade_date, exec_id, sha256(convert_to(qty || '|' || px, 'UTF8')),
               symbol, side,
               qty, px, cost, basis, new_entry_seq, coalesce(venue_at, recorded_at),
               kind, taken_exec_id, taken_date, qty_change, basis_change, settles_on,
               owed, stands_qty, stands_px, recorded_at
          from settled where trades
    ),
    new_events as (   -- the order's, then the pending replacement's
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  exec_id, last_qty_micros, last_px_micros, cum_qty_micros, cum_cost_micros)
        select user_id, order_id, new_event_seq, new_stream_seq, status, new_status,
               case when verdict = 'supersede' then 'superseded'
                    when trades then case kind when 'bust' then 'bust' when 'correct' then 'correction'
                                               else case when had_ended then 'late fill' else 'fill' end end
                    when verdict = 'replace' then 'replaced'
                    else coalesce(venue_reason, replace(kind, '_', ' ')) end, recorded_at,
               case when trades then exec_id end, case when trades then qty end, case when trades then px end,
               new_cum_qty, new_cost
          from settled where changes
        union all
        select user_id, new_id, new_order_event_seq, last_stream_seq, 'pending_replace', new_order_status,
               case new_order_status when 'routed' then 'replaced' when 'cancelled' then 'nothing was left to trade'
                                     else coalesce(venue_reason, 'replace rejected') end, recorded_at,
               null, null, null, 0, 0
          from settled where verdict in ('replace', 'refuse')
    ),
    new_entries as (   -- the report's own, then the hold of a replacement that is confirmed
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, entry_id, entry_kind, order_id, recorded_at, previous_hash, hash from settled
         where posts
        union all
        select user_id, last_entry_seq, new_id, 'hold', new_id, recorded_at, hash, last_hash from settled where holds
    ),
    new_postings as (   -- in the same order, so that the second entry follows the first in the chain
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select s.user_id, s.new_entry_seq, l.line, l.account, l.unit, l.direction, l.amount
          from settled s
         cross join unnest(s.accounts, s.units, s.directions, s.amounts) with ordinality l (account, unit, direction,
                 amount, line)
        union all
        select s.user_id, s.last_entry_seq, l.line, s.account || l.suffix, s.unit, l.direction, s.new_hold
          from settled s cross join (values (1, '', 'debit'), (2, '_held', 'credit')) l (line, suffix, direction)
         where s.holds
    ),
    new_lots as (   -- what a bust takes back leaves the lot that the sale had made
        insert into unsettled_lots as u (user_id, settles_on, amount_micros)
        select user_id, settles_on, cost from settled where trades and not buys and cost <> 0
        on conflict (user_id, settles_on) do update set amount_micros = u.amount_micros + excluded.amount_micros
    ),
    new_positions as (   -- what is held is looked up: a negative change, inserted, would fail the row's check
        insert into positions as p (user_id, symbol, qty_micros, qty_held_micros, cost_basis_micros)
        select user_id, symbol, position_change, 0, basis_change
          from settled where trades or held_shares_change <> 0 or (new_hold > 0 and not buys)
        on conflict (user_id, symbol) do update
           set qty_micros = p.qty_micros + excluded.qty_micros,
               cost_basis_micros = p.cost_basis_micros + excluded.cost_basis_micros,
               qty_held_micros = p.qty_held_micros
                   + (select s.held_shares_change + case when s.buys then 0 else s.new_hold end
                        from settled s where s.user_id = p.user_id and s.symbol = p.symbol)
    ),
    done_instructions as (   -- the report is their answer
        delete from venue_instructions i using settled s
         where i.user_id = s.user_id
           and ((i.order_id = s.order_id
                 and (s.ends or (i.action in ('cancel', 'expire') and s.verdict = 'restore')
                             or (i.action = 'submit' and i.sent_at is not null and s.verdict = 'fill')))
                or (i.order_id = s.new_id and i.action = 'replace' and s.verdict in ('replace', 'refuse')))
    ),
    new_outbox as (   -- one row per event, each with the entry of its own order
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                            occurred_at)
        select b.* from (
            select user_id, new_write_seq, epoch, order_id, new_event_seq, new_stream_seq,
                   case when posts then new_entry_seq end, recorded_at
              from settled where changes
            union all
            select user_id, new_write_seq, epoch, new_id, new_order_event_seq, last_stream_seq,
                   case when holds then last_entry_seq end, recorded_at
              from settled where verdict in ('replace', 'refuse')
        ) b order by b.user_id, b.new_stream_seq
    ),
    new_orders as (   -- the order that the report is about
        update orders o
           set status = s.new_status, cum_qty_micros = s.new_cum_qty, cum_cost_exact = s.new_cost_exact,
               cum_cost_micros = s.new_cost, held_cash_micros = s.new_held_cash, held_shares_micros = s.new_held_shares,
               venue_order_id = case when s.named_order_id = o.order_id
                                     then coalesce(o.venue_order_id, s.venue_order_id) else o.venue_order_id end,
               reject_reason = case when s.new_status = 'rejected' and s.verdict = 'end'
                                    then coalesce(s.venue_reason, 'rejected by the venue') else o.reject_reason end,
               replaced_by = case when s.verdict = 'refuse' then null else o.replaced_by end,
               event_seq = case when s.changes then s.new_event_seq else o.event_seq end,
               write_seq = s.new_write_seq, updated_at = s.recorded_at
          from settled s where o.user_id = s.user_id and o.order_id = s.order_id
    ),
    new_replacements as (   -- the order that replaces it, confirmed or refused
        update orders o
           set status = s.new_order_status,
               order_qty_micros = case s.new_order_status when 'routed' then s.new_order_qty
                                       else o.order_qty_micros end,
               held_cash_micros = case when s.buys then s.new_hold else 0 end,
               held_shares_micros = case when s.buys then 0 else s.new_hold end,
               venue_order_id = coalesce(o.venue_order_id, s.venue_order_id),
               reject_reason = case s.verdict when 'refuse' then coalesce(s.venue_reason, 'replace rejected') end,
               event_seq = s.new_order_event_seq, write_seq = s.new_write_seq, updated_at = s.recorded_at
          from settled s where s.verdict in ('replace', 'refuse') and o.user_id = s.user_id and o.order_id = s.new_id
    )
    update users u
       set cash_micros = u.cash_micros + s.cash_change - case when s.buys then s.new_hold else 0 end,
           cash_held_micros = u.cash_held_micros + s.held_cash_change + case when s.buys then s.new_hold else 0 end,
           restricted = u.restricted or u.cash_micros + s.cash_change - case when s.buys then s.new_hold else 0 end < 0
               or ((s.position_change < 0 or s.new_hold > 0 or s.held_shares_change > 0)
                   and s.position_qty + s.position_change
                       < s.position_held + s.held_shares_change + case when s.buys then 0 else s.new_hold end),
           recorded_at = s.recorded_at, write_seq = s.new_write_seq, entry_seq = s.last_entry_seq,
           chain_head = s.last_hash, order_event_seq = s.last_stream_seq
      from settled s where u.user_id = s.user_id;
end $$;
