-- Apply committed reports from the inbox, at most one per user per call (a user's oldest; the rest answer `deferred`).
-- Execution, order, event, ledger entry, balances, position, outbox row and the inbox row's end: one transaction.
--
-- Result per inbox id, outcome:
--   applied | duplicate (nothing new in it) | quarantined (see quarantined_reports, reason tells)
--   early    it waits in early_reports, reason tells for what: a bust or a correction for an execution that nobody has told
--            yet; a fill or a correction that is beyond the order for something else to be taken back, which may have come first
--            at the venue (one that is larger than the whole order waits for nothing: there can be no room, ever)
--            What has no room, and for which its own bust or correction waits already, gives way: it is written down as it was
--            told, counts for nothing (a correction: for what it takes back) and is `applied`. Its bust or correction is judged
--            next, takes back no more than that, and a correction of nothing is posted, and needs room, as a fill does.
--   returned  a row more than was asked for: this report was early, and is in the inbox again, because what it waited for came
--            with this call (return_early_reports_v1); of which user, `user_id` tells
--   deferred (the user is locked by another writer, halted or gone, or has an older report): the row stays in the inbox.
--            Also the first answer to a report that shows a replacement to be live which nobody confirmed: the confirmation is
--            applied, the report itself by the next call
-- Reality is never refused: a late fill posts after an end, cash or shares may become negative, the user `restricted`.
-- Rounding: posted cost = round-half-even(cumulative exact cost) - already posted. A buy's hold after a fill is
-- ceil(cumulative exact cost + leaves x hold price) - posted, which never exceeds what was held and always covers the rest;
-- An order by amount holds what is left of the amount (a sale by amount: of its shares), and is filled when the venue says so.
-- while a replacement is pending the hold also covers what the replacement needs.
-- Replacements: the report names the new order; the old one ends and gives its hold back, the new one takes its own (two
-- entries, two events). Busts and corrections: an execution row and an entry of their own, never an edit. The order's filled
-- quantity and cost become what the venue says; what is taken back is open again while the order is, and then held again.
-- Reports that only acknowledge an order go first, by acknowledge_orders_v1 (then a user's next one may follow in the same
-- call); most calls have little left to judge.
-- Lock order: users by id.
create or replace function brokerage.apply_reports_v1(p_inbox_ids bigint[], p_settles_on date)
returns table (inbox_id bigint, outcome text, reason text, user_id uuid, order_id uuid)
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := lock_users_v1(
        array(select i.user_id from inbox i where i.id = any (p_inbox_ids) and i.user_id is not null), false);
    acknowledged constant bigint[] := acknowledge_orders_v1(p_inbox_ids, locked);   -- they are in the inbox no more
    locked_at constant timestamptz := clock_v1();
    -- how long an execution may be late: what a venue has not told by the next day's session, it will not tell by itself
    early_max constant interval := '1 day';
begin
    return query select a.id, 'applied', null, null::uuid, null::uuid from unnest(acknowledged) a (id);
    -- what is left may all be of users whom other writers have: nothing to judge then
    if not exists (select from inbox i where i.id = any (p_inbox_ids) and (i.user_id is null or i.user_id = any (locked))) then
        return query select i.id, 'deferred', null, null::uuid, null::uuid from inbox i where i.id = any (p_inbox_ids);
        return;
    end if;
    -- an order whose history is archived already: what is known of it must be met here
    if exists (select from inbox i join orders o on o.user_id = i.user_id and o.order_id = i.order_id
                where i.id = any (p_inbox_ids) and o.archived_month is not null) then
        perform recall_executions_v1(p_inbox_ids, locked);
    end if;

    return query
    with named as (   -- a report of a replacement that is pending is about the order that it replaces
        select i.id, i.user_id, i.order_id as named_id, i.venue, i.session, i.venue_seq, i.body,
               i.body ->> 'kind' as kind, i.body ->> 'exec_id' as exec_id, (i.body ->> 'trade_date')::date as trade_date,
               i.body ->> 'exec_ref_id' as ref_exec_id,
               coalesce((i.body ->> 'last_qty')::bigint, 0) as told_qty, coalesce((i.body ->> 'last_px')::bigint, 0) as told_px,
               (i.body ->> 'leaves_qty')::bigint as told_leaves, i.body ->> 'ord_status' as told_status,
               (i.body ->> 'at')::timestamptz as venue_at, i.body ->> 'reason' as venue_reason,
               i.body ->> 'venue_order_id' as venue_order_id,
               coalesce(m.status = 'pending_replace' and m.replaced_by is null, false) as is_pending_new,
               case when m.status = 'pending_replace' and m.replaced_by is null then m.replaces else m.order_id end as order_id
          from inbox i
          left join orders m on m.user_id = i.user_id and m.order_id = i.order_id
         where i.id = any (p_inbox_ids)
    ),
    read as (
        select n.*,
               o.symbol, o.side, o.status, o.event_seq, o.order_qty_micros, o.notional_micros, o.hold_px_micros, o.cum_qty_micros,
               o.cum_cost_exact, o.cum_cost_micros, o.held_cash_micros, o.held_shares_micros,
               u.epoch, u.owner_state, u.lease_ends_at, u.cash_micros, u.write_seq, u.entry_seq, u.order_event_seq, u.chain_head,
               next_time_v1(locked_at, u.recorded_at) as recorded_at,
               coalesce(p.qty_micros, 0) as position_qty, coalesce(p.qty_held_micros, 0) as position_held,
               coalesce(p.cost_basis_micros, 0) as position_basis,
               x.exec_id is not null as is_known,
               x.kind = n.kind and x.ref_exec_id is not distinct from n.ref_exec_id
                   and (n.kind = 'bust' or (x.last_qty_micros = n.told_qty and x.last_px_micros = n.told_px)) as is_same,
               t.exec_id as taken_exec_id, t.trade_date as taken_date, t.kind as taken_kind, t.superseded_by,
               t.last_qty_micros as taken_told_qty, t.last_px_micros as taken_told_px,
               coalesce(t.stands_qty_micros, t.last_qty_micros) as taken_qty, coalesce(t.stands_px_micros, t.last_px_micros) as taken_px,
               t.basis_micros as taken_basis, t.settles_on as taken_settles_on,
               coalesce(t.owed_micros, 0) as taken_owed,
               r.order_id as new_id, r.event_seq as new_order_event_seq, r.replace_qty_micros as whole_qty,
               r.hold_px_micros as new_hold_px,
               o.status in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed') as had_ended
          from named n
          left join orders o on o.user_id = n.user_id and o.order_id = n.order_id
          left join users u on u.user_id = n.user_id
          left join positions p on p.user_id = n.user_id and p.symbol = o.symbol
          left join orders r on r.user_id = n.user_id and r.order_id = o.replaced_by and r.status = 'pending_replace'
                and r.replaced_by is null
          left join executions x on x.user_id = n.user_id and x.order_id = n.named_id and x.venue = n.venue
                and x.session = n.session and x.trade_date = n.trade_date and x.exec_id = n.exec_id
          left join lateral (
              select e.exec_id, e.trade_date, e.kind, e.last_qty_micros, e.last_px_micros, e.stands_qty_micros, e.stands_px_micros,
                     e.basis_micros, e.settles_on, e.owed_micros,
                     (select y.kind from executions y
                       where y.user_id = e.user_id and y.order_id = e.order_id and y.venue = e.venue and y.session = e.session
                         and y.ref_exec_id = e.exec_id and y.ref_trade_date = e.trade_date) as superseded_by
                from executions e
               where e.user_id = n.user_id and e.order_id = n.named_id and e.venue = n.venue and e.session = n.session
                 and e.exec_id = n.ref_exec_id and e.trade_date <= n.trade_date
               order by e.trade_date desc limit 1
          ) t on n.kind in ('bust', 'correct')
    ),
    judged as materialized (
        select r.*, case
                when r.order_id is null or r.user_id is null then 'quarantined: unknown order'
                when r.user_id <> all (locked) then 'deferred'
                when ownership_v1(r.owner_state, r.lease_ends_at) is not null then 'deferred'
                when exists (select from inbox older where older.user_id = r.user_id and older.id < r.id) then 'deferred'
                when r.status in ('queued', 'armed', 'funds_held') then 'quarantined: report of an order that nobody sent'
                when r.kind in ('bust', 'correct') and (
                    num_nulls(r.exec_id, r.trade_date, r.ref_exec_id) > 0 or (r.kind = 'correct' and (r.told_qty <= 0 or r.told_px <= 0))
                ) then 'quarantined: malformed bust or correction'
                when r.is_pending_new then case
                    when r.kind in ('replaced', 'accepted', 'fill', 'cancelled', 'expired') then case
                        when r.kind = 'fill' and r.whole_qty - r.cum_qty_micros <= 0
                            then 'quarantined: fill of a replacement with nothing left to trade'
                        else 'replace' end
                    when r.kind in ('replace_rejected', 'rejected') then 'refuse'
                    when r.kind in ('bust', 'correct') then 'early'
                    else 'quarantined: report of a replacement that is pending' end
                when r.kind = 'fill' then case
                    when r.exec_id is null or r.trade_date is null or r.told_qty <= 0 or r.told_px <= 0 then 'quarantined: malformed fill'
                    when r.is_known and r.is_same then 'duplicate'
                    when r.is_known then 'quarantined: exec id seen with other content'
                    when r.told_qty > r.order_qty_micros then 'quarantined: fill beyond the order''s quantity'
                    when r.told_qty::numeric * r.told_px > r.notional_micros::numeric * 1000000
                        then 'quarantined: fill beyond the order''s amount'
                    when r.cum_qty_micros::numeric + r.told_qty > r.order_qty_micros
                         or r.cum_cost_exact + r.told_qty::numeric * r.told_px > r.notional_micros::numeric * 1000000
                        then case when is_awaited_v1(r.user_id, r.named_id, r.venue, r.session, r.trade_date, r.exec_id)
                                  then 'give way' else 'early' end
                    else 'fill' end
                when r.kind in ('bust', 'correct') then case
                    when r.is_known and r.is_same then 'duplicate'
                    when r.is_known then 'quarantined: exec id seen with other content'
                    when r.kind = 'correct' and r.told_qty > r.order_qty_micros then 'quarantined: fill beyond the order''s quantity'
                    when r.taken_exec_id is null then 'early'
                    when r.taken_kind = 'bust' then 'quarantined: takes back a bust'
                    when r.kind = 'bust' and r.superseded_by = 'bust' then 'duplicate'
                    when r.superseded_by is not null then 'quarantined: takes back an execution that was taken back before'
                    when r.kind = 'correct' and (
                        r.cum_qty_micros::numeric - r.taken_qty + r.told_qty > r.order_qty_micros
                        -- of an order by amount, one that stands instead of nothing; alone it may be more than the amount
                        or r.taken_qty = 0 and r.cum_cost_exact + least(r.told_qty::numeric * r.told_px, r.notional_micros::numeric * 1000000)
                                               > r.notional_micros::numeric * 1000000)
                        then case when is_awaited_v1(r.user_id, r.named_id, r.venue, r.session, r.trade_date, r.exec_id)
                                  then 'give way' else 'early' end
                    when r.kind = 'correct' and r.taken_qty = 0 then 'fill'
                    else 'revise' end
                -- passed over a moment ago: its user was still halted then, or had an older report
                when r.kind = 'accepted' then 'deferred'
                when r.kind in ('cancelled', 'expired', 'rejected') then case
                    when r.had_ended then 'duplicate'
                    when r.kind = 'rejected' and r.cum_qty_micros > 0 then 'quarantined: rejection of an order with fills'
                    else 'end' end
                when r.kind = 'cancel_rejected' then case when r.status = 'pending_cancel' then 'restore' else 'duplicate' end
                when r.kind in ('replaced', 'replace_rejected') then 'duplicate'
                else 'quarantined: unknown kind of report'
            end as deed
          from read r
    ),
    computed as (
        select j.*, j.deed in ('fill', 'revise', 'give way') as trades, j.side = 'buy' as buys,
               case when j.deed = 'revise' and j.kind = 'bust' then j.taken_told_qty else j.told_qty end as qty,
               case when j.deed = 'revise' and j.kind = 'bust' then j.taken_told_px else j.told_px end as px,
               case j.deed when 'fill' then j.told_qty
                           when 'revise' then case j.kind when 'correct' then j.told_qty else 0 end - j.taken_qty
                           else 0 end as qty_change,
               case j.deed when 'fill' then j.told_qty::numeric * j.told_px
                           when 'revise' then case j.kind when 'correct' then j.told_qty::numeric * j.told_px else 0 end
                                              - j.taken_qty::numeric * j.taken_px
                           else 0 end as exact_change
          from judged j where j.deed in ('fill', 'revise', 'give way', 'end', 'restore', 'replace', 'refuse')
    ),
    costed as (
        select c.*, c.cum_qty_micros + c.qty_change as new_cum_qty, c.cum_cost_exact + c.exact_change as new_cost_exact,
               round_half_even_v1(c.cum_cost_exact + c.exact_change, 1000000)::bigint as new_cost,
               case
                   -- the cancel was the end of the day's: the order expires
                   when c.deed = 'end' and c.kind = 'cancelled' and exists (
                       select from venue_instructions i
                        where i.user_id = c.user_id and i.order_id = c.order_id and i.action = 'expire') then 'expired'
                   when c.deed = 'end' then c.kind
                   when c.deed = 'give way' then c.status
                   when c.deed = 'replace' then case c.status when 'pending_replace' then 'replaced' else c.status end
                   when c.deed = 'refuse' and c.status <> 'pending_replace' then c.status
                   when c.deed in ('restore', 'refuse') then case when c.cum_qty_micros > 0 then 'partially_filled' else 'routed' end
                   when c.cum_qty_micros + c.qty_change = c.order_qty_micros then 'filled'
                   when c.notional_micros is not null and c.deed in ('fill', 'revise') and c.kind <> 'bust'
                        and (c.status = 'filled' or (c.kind = 'fill' and c.told_status = 'filled')) then 'filled'
                   when c.status = 'filled' then 'cancelled'
                   when c.had_ended or c.status in ('pending_cancel', 'pending_replace') then c.status
                   when c.cum_qty_micros + c.qty_change = 0 then 'routed'
                   else 'partially_filled'
               end as new_status
          from computed c
    ),
    held as (
        select c.*, c.new_cost - c.cum_cost_micros as cost,
               -- what buys back shares that were owed is no part of a position's cost, also when it is corrected
               case when not c.buys then null when c.deed = 'fill' then greatest(-c.position_qty, 0) else c.taken_owed end as owed,
               case when c.deed <> 'revise' or not c.buys then 0
                    when c.taken_owed = 0 then c.new_cost - c.cum_cost_micros
                    when c.kind = 'bust' then -c.taken_basis
                    else round_half_even_v1(greatest(c.told_qty - c.taken_owed, 0)::numeric * c.told_px
                                            - greatest(c.taken_qty - c.taken_owed, 0)::numeric * c.taken_px, 1000000)::bigint
               end as revised_basis,
               c.deed in ('end', 'replace') or c.had_ended or c.new_status = 'filled' as ends,
               c.deed not in ('replace', 'refuse') or c.status = 'pending_replace' as changes,
               c.order_qty_micros - c.new_cum_qty as leaves,
               case when c.deed <> 'refuse' then c.whole_qty - c.new_cum_qty end as new_leaves,   -- of a pending replacement
               greatest(coalesce(case when c.kind = 'replaced' then c.told_leaves end, c.whole_qty - c.cum_qty_micros), 0)
                   as new_order_qty
          from costed c
    ),
    needed as (   -- what the order must hold while it is open
        select h.*,
               case when h.notional_micros is not null then
                        greatest(case when h.buys then h.notional_micros - h.new_cost else h.held_shares_micros - h.qty_change end, 0)
                    when h.buys then greatest(ceil((h.new_cost_exact + h.leaves::numeric * h.hold_px_micros) * 0.000001)::bigint - h.new_cost,
                                              ceil(h.new_leaves::numeric * h.new_hold_px * 0.000001)::bigint)
                    else greatest(h.leaves, h.new_leaves) end as need,
               case when h.deed <> 'replace' then 0
                    when h.buys then ceil(h.new_order_qty::numeric * h.new_hold_px * 0.000001)::bigint
                    else h.new_order_qty end as new_hold
          from held h
    ),
    funded as (
        select n.*,
               case when n.ends or not n.buys then 0
                    when n.deed = 'revise' then n.need
                    when n.deed in ('fill', 'refuse') then least(n.held_cash_micros, n.need)
                    else n.held_cash_micros end as new_held_cash,
               case when n.ends or n.buys then 0
                    when n.deed = 'revise' then n.need
                    when n.deed in ('fill', 'refuse') then least(n.held_shares_micros, n.need)
                    else n.held_shares_micros end as new_held_shares,
               case when not n.trades then 0 when n.buys then n.qty_change else -n.qty_change end as position_change,
               -- the basis of this trade as it now stands: what a buy adds; what a sale took with it, a corrected one in proportion
               case when not n.trades or (n.deed = 'revise' and n.kind = 'bust') then 0
                    when n.deed = 'give way' then coalesce(n.taken_basis, 0)
                    when n.buys and n.deed = 'revise' then greatest(n.taken_basis + n.revised_basis, 0)
                    when n.buys and n.owed = 0 then n.cost
                    when n.buys then round_half_even_v1(n.cost::numeric * greatest(n.told_qty - n.owed, 0), n.told_qty)::bigint
                    when n.deed = 'revise' then round_half_even_v1(n.taken_basis::numeric * n.told_qty, n.taken_qty)::bigint
                    when n.position_qty <= n.told_qty then n.position_basis
                    else round_half_even_v1(n.position_basis::numeric * n.told_qty, n.position_qty)::bigint end as basis
          from needed n
    ),
    settled as materialized (
        select f.*,
               f.new_held_cash - f.held_cash_micros as held_cash_change, f.new_held_shares - f.held_shares_micros as held_shares_change,
               f.held_cash_micros - f.new_held_cash
                   + case when f.trades then case when f.buys then -f.cost else f.cost end else 0 end as cash_change,
               f.position_change - (f.new_held_shares - f.held_shares_micros) as shares_change,
               case when f.deed = 'fill' then case when f.buys then f.basis else -f.basis end
                    when f.deed <> 'revise' then 0
                    -- never below nothing, and nothing when no share is left
                    when f.position_qty + f.position_change <= 0 then -f.position_basis
                    when f.buys then greatest(f.position_basis + f.revised_basis, 0) - f.position_basis
                    else greatest(f.position_basis + f.taken_basis - f.basis, 0) - f.position_basis end as basis_change,
               f.write_seq + 1 as new_write_seq, f.event_seq + 1 as new_event_seq,
               f.order_event_seq + f.changes::integer as new_stream_seq,
               md5(f.deed || '|' || f.order_id || '|' || (f.event_seq + 1) || '|' || coalesce(f.exec_id, ''))::uuid as entry_id,
               case when f.trades then f.kind else 'release' end as entry_kind
          from funded f
    ),
    lines as materialized (
        select s.user_id, row_number() over (partition by s.user_id order by l.place)::smallint as line,
               l.account, l.unit, case when l.change < 0 then 'debit' else 'credit' end as direction, abs(l.change) as amount
          from settled s
          cross join lateral (values
              (1, 'cash_held', 'USD', s.held_cash_change),
              (2, 'cash', 'USD', s.cash_change),
              (3, 'clearing', 'USD', case when not s.trades then 0 when s.buys then s.cost else -s.cost end),
              (4, 'shares_held', s.symbol, s.held_shares_change),
              (5, 'shares', s.symbol, s.shares_change),
              (6, 'clearing', s.symbol, -s.position_change)
          ) as l (place, account, unit, change)
         where l.change <> 0
    ),
    linked as materialized (
        select s.*, t.hash is not null as posts, s.entry_seq + (t.hash is not null)::integer as new_entry_seq,
               coalesce(t.hash, s.chain_head) as hash,
               case when s.buys then 'cash' else 'shares' end as account, case when s.buys then 'USD' else s.symbol end as unit
          from settled s
          left join lateral (
              select sha256(s.chain_head || convert_to(
                     '1|' || s.user_id || '|' || (s.entry_seq + 1) || '|' || s.entry_id || '|' || s.entry_kind || '|' || s.order_id || '|'
                     || (extract(epoch from s.recorded_at) * 1000000)::bigint || '|'
                     || string_agg(l.line || ',' || l.account || ',' || l.unit || ',' || l.direction || ',' || l.amount, ';' order by l.line),
                     'UTF8')) as hash
                from lines l where l.user_id = s.user_id
          ) t on true
    ),
    chained as materialized (   -- a confirmed replacement's hold is the second entry of its write
        select k.*, k.new_hold > 0 as holds, case when k.deed = 'refuse' then 'rejected' when k.new_order_qty > 0 then 'routed'
                    else 'cancelled' end as new_order_status,   -- nothing was left for the replacement: both have ended
               k.new_entry_seq + (k.new_hold > 0)::integer as last_entry_seq,
               case when k.new_hold > 0 then sha256(k.hash || convert_to(
                   '1|' || k.user_id || '|' || (k.new_entry_seq + 1) || '|' || k.new_id || '|hold|' || k.new_id || '|'
                   || (extract(epoch from k.recorded_at) * 1000000)::bigint
                   || '|1,' || k.account || ',' || k.unit || ',debit,' || k.new_hold
                   || ';2,' || k.account || '_held,' || k.unit || ',credit,' || k.new_hold, 'UTF8'))
                    else k.hash end as last_hash,
               k.new_stream_seq + (k.deed in ('replace', 'refuse'))::integer as last_stream_seq
          from linked k
    ),
    new_executions as (
        insert into executions (user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side,
                                last_qty_micros, last_px_micros, cost_micros, basis_micros, entry_seq, at,
                                kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros, settles_on, owed_micros,
                                stands_qty_micros, stands_px_micros, recorded_at)
        select user_id, order_id, venue, session, trade_date, exec_id, sha256(convert_to(qty || '|' || px, 'UTF8')), symbol, side,
               qty, px, cost, basis, new_entry_seq, coalesce(venue_at, recorded_at),
               kind, taken_exec_id, taken_date, qty_change, basis_change,
               case when not buys then coalesce(taken_settles_on, settlement_date_v1(trade_date, p_settles_on)) end, owed,
               case when deed = 'give way' then coalesce(taken_qty, 0) end, case when deed = 'give way' then coalesce(taken_px, px) end, recorded_at
          from chained where trades
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  exec_id, last_qty_micros, last_px_micros, cum_qty_micros, cum_cost_micros)
        select user_id, order_id, new_event_seq, new_stream_seq, status, new_status,
               case when deed = 'give way' then 'superseded'
                    when trades then case kind when 'bust' then 'bust' when 'correct' then 'correction'
                                               else case when had_ended then 'late fill' else 'fill' end end
                    when deed = 'replace' then 'replaced'
                    else coalesce(venue_reason, replace(kind, '_', ' ')) end, recorded_at,
               case when trades then exec_id end, case when trades then qty end, case when trades then px end, new_cum_qty, new_cost
          from chained where changes
        union all
        select user_id, new_id, new_order_event_seq + 1, last_stream_seq, 'pending_replace', new_order_status,
               case new_order_status when 'routed' then 'replaced' when 'cancelled' then 'nothing was left to trade'
                                     else coalesce(venue_reason, 'replace rejected') end, recorded_at,
               null, null, null, 0, 0
          from chained where deed in ('replace', 'refuse')
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, entry_id, entry_kind, order_id, recorded_at, chain_head, hash from chained where posts
        union all
        select user_id, last_entry_seq, new_id, 'hold', new_id, recorded_at, hash, last_hash from chained where holds
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select l.user_id, c.new_entry_seq, l.line, l.account, l.unit, l.direction, l.amount
          from lines l join chained c on c.user_id = l.user_id
        union all
        select c.user_id, c.last_entry_seq, l.line, c.account || l.suffix, c.unit, l.direction, c.new_hold
          from chained c cross join (values (1::smallint, '', 'debit'), (2::smallint, '_held', 'credit')) l (line, suffix, direction)
         where c.holds
    ),
    new_lots as (   -- what a bust takes back leaves the lot that the sale had made
        insert into unsettled_lots as u (user_id, settles_on, amount_micros)
        select user_id, coalesce(taken_settles_on, settlement_date_v1(trade_date, p_settles_on)), cost from chained where trades and not buys and cost <> 0
        on conflict (user_id, settles_on) do update set amount_micros = u.amount_micros + excluded.amount_micros
    ),
    new_positions as (
        insert into positions as p (user_id, symbol, qty_micros, qty_held_micros, cost_basis_micros)
        select user_id, symbol, position_change, 0, basis_change
          from chained where trades or held_shares_change <> 0 or (new_hold > 0 and not buys)
        on conflict (user_id, symbol) do update
           set qty_micros = p.qty_micros + excluded.qty_micros,
               cost_basis_micros = p.cost_basis_micros + excluded.cost_basis_micros,
               qty_held_micros = p.qty_held_micros + (select c.held_shares_change + case when c.buys then 0 else c.new_hold end
                                                        from chained c where c.user_id = p.user_id and c.symbol = p.symbol)
    ),
    done_instructions as (
        delete from venue_instructions i using chained c
         where i.user_id = c.user_id
           and ((i.order_id = c.order_id
                 and (c.ends or (i.action in ('cancel', 'expire') and c.deed = 'restore')
                             or (i.action = 'submit' and i.sent_at is not null and c.deed = 'fill')))
                or (i.order_id = c.new_id and i.action = 'replace' and c.deed in ('replace', 'refuse')))
    ),
    -- one outbox row per event, each with the entry of its own order
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq, occurred_at)
        select b.* from (
            select user_id, new_write_seq, epoch, order_id, new_event_seq, new_stream_seq, case when posts then new_entry_seq end, recorded_at
              from chained where changes
            union all
            select user_id, new_write_seq, epoch, new_id, new_order_event_seq + 1, last_stream_seq,
                   case when holds then last_entry_seq end, recorded_at
              from chained where deed in ('replace', 'refuse')
        ) b order by b.user_id, b.new_stream_seq
    ),
    new_orders as (
        update orders o
           set status = c.new_status, cum_qty_micros = c.new_cum_qty, cum_cost_exact = c.new_cost_exact,
               cum_cost_micros = c.new_cost, held_cash_micros = c.new_held_cash, held_shares_micros = c.new_held_shares,
               venue_order_id = case when c.named_id = o.order_id then coalesce(o.venue_order_id, c.venue_order_id) else o.venue_order_id end,
               reject_reason = case when c.new_status = 'rejected' and c.deed = 'end' then coalesce(c.venue_reason, 'rejected by the venue')
                                    else o.reject_reason end,
               replaced_by = case when c.deed = 'refuse' then null else o.replaced_by end,
               event_seq = case when c.changes then c.new_event_seq else o.event_seq end,
               write_seq = c.new_write_seq, updated_at = c.recorded_at
          from chained c where o.user_id = c.user_id and o.order_id = c.order_id
    ),
    new_replacements as (
        update orders o
           set status = c.new_order_status,
               order_qty_micros = case c.new_order_status when 'routed' then c.new_order_qty else o.order_qty_micros end,
               held_cash_micros = case when c.buys then c.new_hold else 0 end,
               held_shares_micros = case when c.buys then 0 else c.new_hold end,
               venue_order_id = coalesce(o.venue_order_id, c.venue_order_id),
               reject_reason = case c.deed when 'refuse' then coalesce(c.venue_reason, 'replace rejected') end,
               event_seq = c.new_order_event_seq + 1, write_seq = c.new_write_seq, updated_at = c.recorded_at
          from chained c where c.deed in ('replace', 'refuse') and o.user_id = c.user_id and o.order_id = c.new_id
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros + c.cash_change - case when c.buys then c.new_hold else 0 end,
               cash_held_micros = u.cash_held_micros + c.held_cash_change + case when c.buys then c.new_hold else 0 end,
               restricted = u.restricted or u.cash_micros + c.cash_change - case when c.buys then c.new_hold else 0 end < 0
                   or ((c.position_change < 0 or c.new_hold > 0 or c.held_shares_change > 0)
                       and c.position_qty + c.position_change
                           < c.position_held + c.held_shares_change + case when c.buys then 0 else c.new_hold end),
               recorded_at = c.recorded_at, write_seq = c.new_write_seq, entry_seq = c.last_entry_seq, chain_head = c.last_hash,
               order_event_seq = c.last_stream_seq,
               owner_state = 'active', halt_id = null, lease_ends_at = null
          from chained c where u.user_id = c.user_id
    ),
    quarantine as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select substr(deed, 14), user_id, named_id, venue, session, venue_seq, body, locked_at
          from judged where deed like 'quarantined: %'
    ),
    early as (
        insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                   room_qty_micros, room_cost_exact, body, received_at, waits_until)
        select j.user_id, j.id, j.named_id, j.venue, j.session, j.venue_seq, j.trade_date,
               case when j.kind <> 'fill' then j.ref_exec_id end,
               case when j.kind = 'fill' or j.taken_exec_id is not null then
                        case when j.order_qty_micros is not null then j.told_qty - coalesce(j.taken_qty, 0) end end,
               case when j.kind = 'fill' or j.taken_exec_id is not null then
                        case when j.order_qty_micros is null
                             then least(j.told_qty::numeric * j.told_px, j.notional_micros::numeric * 1000000) end end,
               j.body, i.received_at, i.received_at + early_max
          from judged j join inbox i on i.id = j.id where j.deed = 'early'
        returning inbox_id, waits_for
    ),
    done as (
        delete from inbox i using judged j
         where i.id = j.id and j.deed <> 'deferred' and not (j.deed = 'replace' and j.kind <> 'replaced')
    )
    select j.id,
           case when j.deed like 'quarantined: %' then 'quarantined'
                when j.deed in ('deferred', 'duplicate', 'early') then j.deed
                when j.deed = 'replace' and j.kind <> 'replaced' then 'deferred'
                else 'applied' end,
           case when j.deed like 'quarantined: %' then substr(j.deed, 14) when j.deed = 'early' then 'waits for ' || e.waits_for end,
           j.user_id, j.named_id
      from judged j
      left join early e on e.inbox_id = j.id;

    if exists (select from early_reports) then   -- hardly ever
        return query select b.inbox_id, 'returned', null, b.user_id, null::uuid from return_early_reports_v1(locked) b;
    end if;
end $$;
