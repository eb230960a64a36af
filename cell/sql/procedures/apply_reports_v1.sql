-- Apply committed reports from the inbox, at most one per user per call (a user's oldest; the rest answer `deferred`).
-- Execution, order, event, ledger entry, balances, position, outbox row and the inbox row's end: one transaction.
--
-- Result per inbox id, outcome:
--   applied | duplicate (nothing new in it) | quarantined (see quarantined_reports, reason tells)
--   deferred (the user is locked by another writer, halted or gone, or has an older report): the row stays in the inbox
-- Reality is never refused: a late fill posts after an end, cash or shares may become negative, the user `restricted`.
-- Rounding: posted cost = round-half-even(cumulative exact cost) - already posted. A buy's hold after a fill is
-- ceil(cumulative exact cost + leaves x hold price) - posted, which never exceeds what was held and always covers the rest.
-- Lock order: users by id.
create or replace function brokerage.apply_reports_v1(p_inbox_ids bigint[], p_settles_on date, p_at timestamptz)
returns table (inbox_id bigint, outcome text, reason text)
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := lock_users_v1(
        array(select i.user_id from inbox i where i.id = any (p_inbox_ids) and i.user_id is not null), false);
begin
    return query
    with read as (
        select i.id, i.user_id, i.order_id, i.venue, i.session, i.venue_seq, i.body,
               i.body ->> 'kind' as kind, i.body ->> 'exec_id' as exec_id, (i.body ->> 'trade_date')::date as trade_date,
               coalesce((i.body ->> 'last_qty')::bigint, 0) as qty, coalesce((i.body ->> 'last_px')::bigint, 0) as px,
               coalesce((i.body ->> 'at')::timestamptz, p_at) as venue_at, i.body ->> 'reason' as venue_reason,
               i.body ->> 'venue_order_id' as venue_order_id,
               o.symbol, o.side, o.status, o.event_seq, o.order_qty_micros, o.hold_px_micros, o.cum_qty_micros,
               o.cum_cost_exact, o.cum_cost_micros, o.held_cash_micros, o.held_shares_micros,
               u.epoch, u.owner_state, u.lease_ends_at, u.cash_micros, u.write_seq, u.entry_seq, u.order_event_seq, u.chain_head,
               coalesce(p.qty_micros, 0) as position_qty, coalesce(p.qty_held_micros, 0) as position_held,
               coalesce(p.cost_basis_micros, 0) as position_basis,
               x.exec_id is not null as is_known, x.last_qty_micros as known_qty, x.last_px_micros as known_px,
               o.status in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed') as had_ended
          from inbox i
          left join orders o on o.user_id = i.user_id and o.order_id = i.order_id
          left join users u on u.user_id = i.user_id
          left join positions p on p.user_id = i.user_id and p.symbol = o.symbol
          left join executions x on x.user_id = i.user_id and x.order_id = i.order_id and x.venue = i.venue
                and x.session = i.session and x.trade_date = (i.body ->> 'trade_date')::date and x.exec_id = i.body ->> 'exec_id'
         where i.id = any (p_inbox_ids)
    ),
    judged as materialized (
        select r.*, case
                when r.order_id is null or r.user_id is null then 'quarantined: unknown order'
                when r.user_id <> all (locked) then 'deferred'
                when ownership_v1(r.owner_state, r.lease_ends_at) is not null then 'deferred'
                when exists (select from inbox older where older.user_id = r.user_id and older.id < r.id) then 'deferred'
                when r.kind = 'fill' then case
                    when r.exec_id is null or r.trade_date is null or r.qty <= 0 or r.px <= 0 then 'quarantined: malformed fill'
                    when r.is_known and r.known_qty = r.qty and r.known_px = r.px then 'duplicate'
                    when r.is_known then 'quarantined: exec id seen with other content'
                    when r.cum_qty_micros::numeric + r.qty > r.order_qty_micros then 'quarantined: fill beyond the order''s quantity'
                    else 'fill' end
                when r.kind = 'accepted' then 'acknowledge'
                when r.kind in ('cancelled', 'expired', 'rejected') then case
                    when r.had_ended then 'duplicate'
                    when r.kind = 'rejected' and r.cum_qty_micros > 0 then 'quarantined: rejection of an order with fills'
                    else 'end' end
                when r.kind = 'cancel_rejected' then case when r.status = 'pending_cancel' then 'restore' else 'duplicate' end
                else 'quarantined: unknown kind of report'
            end as deed
          from read r
    ),
    computed as (
        select j.*, j.deed = 'fill' as fills, j.side = 'buy' as buys,
               j.cum_qty_micros + case j.deed when 'fill' then j.qty else 0 end as new_cum_qty,
               j.cum_cost_exact + case j.deed when 'fill' then j.qty::numeric * j.px else 0 end as new_cost_exact
          from judged j where j.deed in ('fill', 'end', 'restore', 'acknowledge')
    ),
    costed as (
        select c.*, round_half_even_v1(c.new_cost_exact, 1000000)::bigint as new_cost,
               case
                   when c.deed = 'acknowledge' then c.status
                   -- the cancel was the end of the day's: the order expires
                   when c.deed = 'end' and c.kind = 'cancelled' and exists (
                       select from venue_instructions i
                        where i.user_id = c.user_id and i.order_id = c.order_id and i.action = 'expire') then 'expired'
                   when c.deed = 'end' then c.kind
                   when c.deed = 'restore' then case when c.cum_qty_micros > 0 then 'partially_filled' else 'routed' end
                   when c.new_cum_qty = c.order_qty_micros then 'filled'
                   when c.had_ended or c.status in ('pending_cancel', 'pending_replace') then c.status
                   else 'partially_filled'
               end as new_status
          from computed c
    ),
    held as (
        select c.*, c.new_cost - c.cum_cost_micros as cost,
               c.deed = 'end' or c.had_ended or c.new_status = 'filled' as ends,
               case when c.fills and not c.buys then least(c.held_shares_micros, c.qty) else 0 end as shares_from_hold
          from costed c
    ),
    funded as (
        select h.*,
               case when h.ends then 0
                    when h.fills and h.buys then least(h.held_cash_micros, ceil((h.new_cost_exact
                         + (h.order_qty_micros - h.new_cum_qty)::numeric * h.hold_px_micros) * 0.000001)::bigint - h.new_cost)
                    else h.held_cash_micros end as new_held_cash,
               case when h.ends then 0 else h.held_shares_micros - h.shares_from_hold end as new_held_shares,
               case when not h.fills then 0
                    -- what buys back shares that were owed is no part of a position's cost
                    when h.buys and h.position_qty >= 0 then h.cost
                    when h.buys and h.position_qty + h.qty <= 0 then 0
                    when h.buys then round_half_even_v1(h.cost::numeric * (h.position_qty + h.qty), h.qty)::bigint
                    when h.position_qty <= h.qty then h.position_basis
                    else round_half_even_v1(h.position_basis::numeric * h.qty, h.position_qty)::bigint end as basis
          from held h
    ),
    settled as materialized (
        select f.*, f.held_cash_micros - f.new_held_cash as cash_released,
               f.held_shares_micros - f.new_held_shares - f.shares_from_hold as shares_released,
               f.held_cash_micros - f.new_held_cash
                   + case when f.fills then case when f.buys then -f.cost else f.cost end else 0 end as cash_change,
               f.fills or f.held_cash_micros > f.new_held_cash or f.held_shares_micros > f.new_held_shares as posts,
               f.write_seq + 1 as new_write_seq, f.event_seq + 1 as new_event_seq, f.order_event_seq + 1 as new_stream_seq,
               f.deed <> 'acknowledge' as changes,
               md5(f.deed || '|' || f.order_id || '|' || (f.event_seq + 1) || '|' || coalesce(f.exec_id, ''))::uuid as entry_id,
               case when f.fills then 'fill' else 'release' end as entry_kind,
               f.entry_seq + 1 as new_entry_seq
          from funded f
    ),
    lines as materialized (
        select s.user_id, row_number() over (partition by s.user_id order by l.place)::smallint as line,
               l.account, l.unit, l.direction, l.amount
          from settled s
          cross join lateral (values
              (1, 'cash_held', 'USD', 'debit', s.cash_released),
              (2, 'cash', 'USD', case when s.cash_change < 0 then 'debit' else 'credit' end, abs(s.cash_change)),
              (3, 'clearing', 'USD', case when s.buys then 'credit' else 'debit' end, case when s.fills then s.cost else 0 end),
              (4, 'shares_held', s.symbol, 'debit', s.shares_from_hold + s.shares_released),
              (5, 'shares', s.symbol, 'credit', s.shares_released + case when s.fills and s.buys then s.qty else 0 end),
              (6, 'shares', s.symbol, 'debit', case when s.fills and not s.buys then s.qty - s.shares_from_hold else 0 end),
              (7, 'clearing', s.symbol, case when s.buys then 'debit' else 'credit' end, case when s.fills then s.qty else 0 end)
          ) as l (place, account, unit, direction, amount)
         where s.posts and l.amount > 0
    ),
    chained as materialized (
        select s.*, t.hash
          from settled s
          left join lateral (
              select sha256(s.chain_head || convert_to(
                     '1|' || s.user_id || '|' || s.new_entry_seq || '|' || s.entry_id || '|' || s.entry_kind || '|' || s.order_id || '|'
                     || (extract(epoch from p_at) * 1000000)::bigint || '|'
                     || string_agg(l.line || ',' || l.account || ',' || l.unit || ',' || l.direction || ',' || l.amount, ';' order by l.line),
                     'UTF8')) as hash
                from lines l where l.user_id = s.user_id
          ) t on s.posts
    ),
    new_executions as (
        insert into executions (user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side,
                                last_qty_micros, last_px_micros, cost_micros, basis_micros, entry_seq, at)
        select user_id, order_id, venue, session, trade_date, exec_id, sha256(convert_to(qty || '|' || px, 'UTF8')), symbol, side,
               qty, px, cost, basis, new_entry_seq, venue_at
          from chained where fills
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  exec_id, last_qty_micros, last_px_micros, cum_qty_micros, cum_cost_micros)
        select user_id, order_id, new_event_seq, new_stream_seq, status, new_status,
               case when fills then case when had_ended then 'late fill' else 'fill' end
                    else coalesce(venue_reason, replace(kind, '_', ' ')) end, p_at,
               case when fills then exec_id end, case when fills then qty end, case when fills then px end, new_cum_qty, new_cost
          from chained where changes
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, entry_id, entry_kind, order_id, p_at, chain_head, hash from chained where posts
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select l.user_id, c.new_entry_seq, l.line, l.account, l.unit, l.direction, l.amount
          from lines l join chained c on c.user_id = l.user_id
    ),
    new_lots as (
        insert into unsettled_lots as u (user_id, settles_on, amount_micros)
        select user_id, settlement_date_v1(trade_date, p_settles_on), cost from chained where fills and not buys and cost > 0
        on conflict (user_id, settles_on) do update set amount_micros = u.amount_micros + excluded.amount_micros
    ),
    new_positions as (
        insert into positions as p (user_id, symbol, qty_micros, qty_held_micros, cost_basis_micros)
        select user_id, symbol,
               case when fills then case when buys then qty else -qty end else 0 end, 0,
               case when buys then basis else -basis end
          from chained where fills or held_shares_micros > new_held_shares
        on conflict (user_id, symbol) do update
           set qty_micros = p.qty_micros + excluded.qty_micros,
               cost_basis_micros = p.cost_basis_micros + excluded.cost_basis_micros,
               qty_held_micros = p.qty_held_micros - (select c.held_shares_micros - c.new_held_shares from chained c
                                                       where c.user_id = p.user_id and c.symbol = p.symbol)
    ),
    done_instructions as (
        delete from venue_instructions i using chained c
         where i.user_id = c.user_id and i.order_id = c.order_id
           and (c.ends or (i.action in ('cancel', 'expire') and c.deed = 'restore')
                       or (i.action = 'submit' and i.sent_at is not null and c.deed in ('fill', 'acknowledge')))
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq, occurred_at)
        select user_id, new_write_seq, epoch, order_id, new_event_seq, new_stream_seq, case when posts then new_entry_seq end, p_at
          from chained where changes
    ),
    new_orders as (
        update orders o
           set status = c.new_status, cum_qty_micros = c.new_cum_qty, cum_cost_exact = c.new_cost_exact,
               cum_cost_micros = c.new_cost, held_cash_micros = c.new_held_cash, held_shares_micros = c.new_held_shares,
               venue_order_id = coalesce(o.venue_order_id, c.venue_order_id),
               reject_reason = case when c.new_status = 'rejected' and c.deed = 'end' then coalesce(c.venue_reason, 'rejected by the venue')
                                    else o.reject_reason end,
               event_seq = case when c.changes then c.new_event_seq else o.event_seq end,
               write_seq = c.new_write_seq, updated_at = p_at
          from chained c where o.user_id = c.user_id and o.order_id = c.order_id
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros + c.cash_change,
               cash_held_micros = u.cash_held_micros - c.cash_released,
               restricted = u.restricted or u.cash_micros + c.cash_change < 0
                   or (c.fills and not c.buys
                       and c.position_qty - c.qty < c.position_held - (c.held_shares_micros - c.new_held_shares)),
               write_seq = c.new_write_seq,
               entry_seq = case when c.posts then c.new_entry_seq else u.entry_seq end,
               chain_head = case when c.posts then c.hash else u.chain_head end,
               order_event_seq = case when c.changes then c.new_stream_seq else u.order_event_seq end,
               owner_state = 'active', halt_id = null, lease_ends_at = null
          from chained c where u.user_id = c.user_id
    ),
    quarantine as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select substr(deed, 14), user_id, order_id, venue, session, venue_seq, body, p_at
          from judged where deed like 'quarantined: %'
    ),
    done as (
        delete from inbox i using judged j where i.id = j.id and j.deed <> 'deferred'
    )
    select j.id,
           case when j.deed like 'quarantined: %' then 'quarantined'
                when j.deed in ('deferred', 'duplicate') then j.deed else 'applied' end,
           case when j.deed like 'quarantined: %' then substr(j.deed, 14) end
      from judged j;
end $$;
