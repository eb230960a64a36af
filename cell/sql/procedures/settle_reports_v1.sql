-- The second part of apply_reports_v1: what the reports that change something change, in figures. Writes nothing, and
-- of the database reads only the calendar and the cancels at the end of the day. Result: one row per such report
-- (settled_report).
-- Rounding: posted cost = round-half-even(cumulative exact cost) - already posted. A buy's hold after a fill is
-- ceil(cumulative exact cost + leaves x hold price) - posted, which never exceeds what was held and always covers the
-- rest. An order by amount holds what is left of the amount (a sale by amount: of its shares), and is filled when the
-- venue says so. While a replacement is pending the hold also covers what the replacement needs. A confirmed one is two
-- entries and two events: the old order gives its hold back, the new one takes its own.
-- Parts: traded (quantity and price) > costed (totals; status_after_v1) > ended (cost, what is left) > needed > held
-- (holds, basis) > changed (differences) > posted (the entry; report_lines_v1). Those that later ones use several times
-- are materialized: the planner would write them out, and compute them, at each use.
-- Not for callers outside.
create or replace function settle_reports_v1(p_judged brokerage.judged_report[], p_settles_on date)
returns setof brokerage.settled_report
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with traded as (   -- what trades at which price, and what it changes of the order's totals; all else trades nothing
        select j.*, j.verdict in ('fill', 'revise', 'supersede') as trades, j.side = 'buy' as buys,
               case when j.verdict = 'revise' and j.kind = 'bust' then j.taken_reported_qty else j.reported_qty end
                   as qty,
               case when j.verdict = 'revise' and j.kind = 'bust' then j.taken_reported_px else j.reported_px end as px,
               case j.verdict when 'fill' then j.reported_qty
                              when 'revise' then case j.kind when 'correct' then j.reported_qty else 0 end - j.taken_qty
                              else 0 end as qty_change,
               case j.verdict when 'fill' then j.reported_qty::numeric * j.reported_px
                              when 'revise'
                                  then case j.kind when 'correct' then j.reported_qty::numeric * j.reported_px
                                            else 0 end
                                                 - j.taken_qty::numeric * j.taken_px
                              else 0 end as exact_change
          from unnest(p_judged) j
         where j.verdict in ('fill', 'revise', 'supersede', 'end', 'restore', 'replace', 'refuse')
    ),
    costed as materialized (   -- the order's totals, rounded once, and its status afterwards
        select t.*, t.cum_qty_micros + t.qty_change as new_cum_qty, t.cum_cost_exact + t.exact_change as new_cost_exact,
               round_half_even_v1(t.cum_cost_exact + t.exact_change, 1000000)::bigint as new_cost,
               status_after_v1(t.verdict, t.kind, t.status, t.had_ended,
                               exists (select from venue_instructions i
                                        where i.user_id = t.user_id and i.order_id = t.order_id
                                          and i.action = 'expire'),
                               t.cum_qty_micros, t.cum_qty_micros + t.qty_change, t.order_qty_micros,
                               t.notional_micros, t.reported_status) as new_status
          from traded t
    ),
    ended as (   -- what is posted for the trade, whether the order ends, and what is left of it
        select c.*, c.new_cost - c.cum_cost_micros as cost,
               -- what buys back shares that were owed is no part of a position's cost, also when it is corrected
               case when not c.buys then null when c.verdict = 'fill' then greatest(-c.position_qty, 0)
                    else c.taken_owed end as owed,
               case when c.verdict <> 'revise' or not c.buys then 0
                    when c.taken_owed = 0 then c.new_cost - c.cum_cost_micros
                    when c.kind = 'bust' then -c.taken_basis
                    else round_half_even_v1(greatest(c.reported_qty - c.taken_owed, 0)::numeric * c.reported_px
                                            - greatest(c.taken_qty - c.taken_owed, 0)::numeric * c.taken_px,
                                            1000000)::bigint
               end as revised_basis,
               c.verdict in ('end', 'replace') or c.had_ended or c.new_status = 'filled' as ends,
               c.verdict not in ('replace', 'refuse') or c.status = 'pending_replace' as changes,
               c.order_qty_micros - c.new_cum_qty as leaves,
               -- of a pending replacement
               case when c.verdict <> 'refuse' then c.whole_qty - c.new_cum_qty end as new_leaves,
               greatest(coalesce(case when c.kind = 'replaced' then c.reported_leaves end,
                                 c.whole_qty - c.cum_qty_micros), 0)
                   as new_order_qty
          from costed c
    ),
    needed as materialized (   -- what the order must hold while it is open
        select e.*,
               case when e.notional_micros is not null then greatest(
                        case when e.buys then e.notional_micros - e.new_cost
                             else e.held_shares_micros - e.qty_change end, 0)
                    when e.buys then greatest(
                        ceil((e.new_cost_exact + e.leaves::numeric * e.hold_px_micros) * 0.000001)::bigint - e.new_cost,
                        ceil(e.new_leaves::numeric * e.new_hold_px * 0.000001)::bigint)
                    else greatest(e.leaves, e.new_leaves) end as need,
               case when e.verdict <> 'replace' then 0
                    when e.buys then ceil(e.new_order_qty::numeric * e.new_hold_px * 0.000001)::bigint
                    else e.new_order_qty end as new_hold
          from ended e
    ),
    held as materialized (   -- what is held from now on, and what the trade does to the position and its basis
        select n.*,
               case when n.ends or not n.buys then 0
                    when n.verdict = 'revise' then n.need
                    when n.verdict in ('fill', 'refuse') then least(n.held_cash_micros, n.need)
                    else n.held_cash_micros end as new_held_cash,
               case when n.ends or n.buys then 0
                    when n.verdict = 'revise' then n.need
                    when n.verdict in ('fill', 'refuse') then least(n.held_shares_micros, n.need)
                    else n.held_shares_micros end as new_held_shares,
               case when not n.trades then 0 when n.buys then n.qty_change else -n.qty_change end as position_change,
               -- the basis of this trade as it now stands: what a buy adds; what a sale took with it, a corrected one
               -- in proportion
               case when not n.trades or (n.verdict = 'revise' and n.kind = 'bust') then 0
                    when n.verdict = 'supersede' then coalesce(n.taken_basis, 0)
                    when n.buys and n.verdict = 'revise' then greatest(n.taken_basis + n.revised_basis, 0)
                    when n.buys and n.owed = 0 then n.cost
                    when n.buys
                        then round_half_even_v1(n.cost::numeric * greatest(n.reported_qty - n.owed, 0),
                                                n.reported_qty)::bigint
                    when n.verdict = 'revise'
                        then round_half_even_v1(n.taken_basis::numeric * n.reported_qty, n.taken_qty)::bigint
                    when n.position_qty <= n.reported_qty then n.position_basis
                    else round_half_even_v1(n.position_basis::numeric * n.reported_qty, n.position_qty)::bigint end
                        as basis
          from needed n
    ),
    changed as materialized (   -- the differences, which are what is posted, and the numbers of the event
        select h.*,
               h.new_held_cash - h.held_cash_micros as held_cash_change,
               h.new_held_shares - h.held_shares_micros as held_shares_change,
               h.held_cash_micros - h.new_held_cash
                   + case when h.trades then case when h.buys then -h.cost else h.cost end else 0 end as cash_change,
               case when h.verdict = 'fill' then case when h.buys then h.basis else -h.basis end
                    when h.verdict <> 'revise' then 0
                    -- never below nothing, and nothing when no share is left
                    when h.position_qty + h.position_change <= 0 then -h.position_basis
                    when h.buys then greatest(h.position_basis + h.revised_basis, 0) - h.position_basis
                    else greatest(h.position_basis + h.taken_basis - h.basis, 0) - h.position_basis end as basis_change,
               h.event_seq + 1 as new_event_seq, h.order_event_seq + h.changes::integer as new_stream_seq,
               md5(h.verdict || '|' || h.order_id || '|' || (h.event_seq + 1) || '|' || coalesce(h.exec_id, ''))::uuid
                   as entry_id,
               case when h.trades then h.kind else 'release' end as entry_kind,
               case when h.buys then 'cash' else 'shares' end as account,
                   case when h.buys then 'USD' else h.symbol end as unit
          from held h
    ),
    posted as materialized (   -- the report's own entry: what has changed, one line per account
        select c.*, l.accounts, l.units, l.directions, l.amounts, l.accounts is not null as posts,
               c.entry_seq + (l.accounts is not null)::integer as new_entry_seq,
               case when l.accounts is null then c.chain_head
                    else entry_hash_v1(c.chain_head, c.user_id, c.entry_seq + 1, c.entry_id, c.entry_kind, c.order_id,
                                       c.recorded_at, variadic l.hashed) end as hash
          from changed c
         cross join lateral report_lines_v1(
                c.symbol, c.held_cash_change, c.cash_change,
                case when not c.trades then 0 when c.buys then c.cost else -c.cost end,
                c.held_shares_change, c.position_change - c.held_shares_change) l
    )
    select p.user_id, p.order_id, p.named_order_id, p.symbol, p.side, p.buys, p.verdict, p.kind, p.trades, p.changes,
           p.ends,
           p.had_ended, p.epoch, p.recorded_at, p.venue, p.session, p.trade_date, p.exec_id, p.venue_at, p.venue_reason,
           p.venue_order_id, p.status, p.new_status, p.qty, p.px, p.cost, p.basis, p.owed, p.qty_change, p.basis_change,
           case when p.trades and not p.buys
                then coalesce(p.taken_settles_on, settlement_date_v1(p.trade_date, p_settles_on)) end,
           p.taken_exec_id, p.taken_date,
           case when p.verdict = 'supersede' then coalesce(p.taken_qty, 0) end,
           case when p.verdict = 'supersede' then coalesce(p.taken_px, p.px) end,
           p.new_cum_qty, p.new_cost_exact, p.new_cost, p.new_held_cash, p.new_held_shares,
           p.held_cash_change, p.held_shares_change, p.cash_change, p.position_change, p.position_qty, p.position_held,
           p.write_seq + 1, p.new_event_seq, p.new_stream_seq,
           p.new_stream_seq + (p.verdict in ('replace', 'refuse'))::integer,
           p.posts, p.new_entry_seq, p.entry_id, p.entry_kind, p.chain_head, p.hash,
           p.accounts, p.units, p.directions, p.amounts,
           p.new_id, p.new_order_event_seq + 1, p.new_order_qty,
           case when p.verdict = 'refuse' then 'rejected' when p.new_order_qty > 0 then 'routed'
                else 'cancelled' end,   -- nothing was left for the replacement: both have ended
           p.new_hold > 0, p.new_hold, p.account, p.unit, p.new_entry_seq + (p.new_hold > 0)::integer,
           case when p.new_hold > 0 then
               entry_hash_v1(p.hash, p.user_id, p.new_entry_seq + 1, p.new_id, 'hold', p.new_id, p.recorded_at,
                             posting_line_v1(1, p.account, p.unit, 'debit', p.new_hold),
                             posting_line_v1(2, p.account || '_held', p.unit, 'credit', p.new_hold))
                else p.hash end
      from posted p;
end $$;
