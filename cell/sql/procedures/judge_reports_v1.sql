-- The first part of apply_reports_v1: what each report is about, and what is to be done with it. Writes nothing.
-- Result: one row per inbox id (brokerage.judged_report). `verdict` is one of
--   fill | revise | supersede   it trades: a fill; a bust or correction of what stands; a fill or correction that has
--                               no room and is taken back by a report that waits already: it is recorded and counts for
--                               nothing
--   end | restore | replace | refuse   the order ends, goes on after a refused cancel, is replaced, is not replaced
--   duplicate | early | deferred | quarantined   nothing is posted (apply_reports_v1 says what each means)
-- `fault` says what is wrong with a report that no rule below can apply; it is quarantined, unless it is deferred
-- first.
-- Parts: named (which order) > known (with what the cell knows of it) > faulted (fault_of_fill_v1,
-- fault_of_revision_v1) > judged (is_beyond_v1: is there room for it in the order).
-- Called with the users' rows locked, after the locking statement. Not for callers outside: it locks nothing itself.
create or replace function judge_reports_v1(p_inbox_ids bigint[], p_locked uuid[], p_locked_at timestamptz)
returns setof brokerage.judged_report
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with named as (   -- a report of a replacement that is pending is about the order that it replaces
        select i.id, i.user_id, i.order_id as named_id, i.venue, i.session, i.venue_seq, i.body,
               i.body ->> 'kind' as kind, i.body ->> 'exec_id' as exec_id,
               (i.body ->> 'trade_date')::date as trade_date,
               i.body ->> 'exec_ref_id' as ref_exec_id,
               coalesce((i.body ->> 'last_qty')::bigint, 0) as reported_qty,
               coalesce((i.body ->> 'last_px')::bigint, 0) as reported_px,
               (i.body ->> 'leaves_qty')::bigint as reported_leaves, i.body ->> 'ord_status' as reported_status,
               (i.body ->> 'at')::timestamptz as venue_at, i.body ->> 'reason' as venue_reason,
               i.body ->> 'venue_order_id' as venue_order_id,
               coalesce(m.status = 'pending_replace' and m.replaced_by is null, false) as is_pending_new,
               case when m.status = 'pending_replace' and m.replaced_by is null then m.replaces else m.order_id end
                   as order_id
          from inbox i
          left join orders m on m.user_id = i.user_id and m.order_id = i.order_id
         where i.id = any (p_inbox_ids)
    ),
    known as (   -- with the user, the order, its pending replacement, and the execution that is known or taken back
        select n.*,
               o.symbol, o.side, o.status, o.event_seq, o.order_qty_micros, o.notional_micros, o.hold_px_micros,
               o.cum_qty_micros, o.cum_cost_exact, o.cum_cost_micros, o.held_cash_micros, o.held_shares_micros,
               u.epoch, u.owner_state, u.write_seq, u.entry_seq, u.order_event_seq, u.chain_head,
               next_time_v1(p_locked_at, u.recorded_at) as recorded_at,
               coalesce(p.qty_micros, 0) as position_qty, coalesce(p.qty_held_micros, 0) as position_held,
               coalesce(p.cost_basis_micros, 0) as position_basis,
               x.exec_id is not null as is_known,
               x.kind = n.kind and x.ref_exec_id is not distinct from n.ref_exec_id
                   and (n.kind = 'bust' or (x.last_qty_micros = n.reported_qty and x.last_px_micros = n.reported_px))
                       as is_same,
               t.exec_id as taken_exec_id, t.trade_date as taken_date, t.kind as taken_kind, t.superseded_by,
               t.last_qty_micros as taken_reported_qty, t.last_px_micros as taken_reported_px,
               coalesce(t.stands_qty_micros, t.last_qty_micros) as taken_qty,
               coalesce(t.stands_px_micros, t.last_px_micros) as taken_px,
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
              select e.exec_id, e.trade_date, e.kind, e.last_qty_micros, e.last_px_micros, e.stands_qty_micros,
                     e.stands_px_micros, e.basis_micros, e.settles_on, e.owed_micros,
                     (select y.kind from executions y
                       where y.user_id = e.user_id and y.order_id = e.order_id and y.venue = e.venue
                           and y.session = e.session
                         and y.ref_exec_id = e.exec_id and y.ref_trade_date = e.trade_date) as superseded_by
                from executions e
               where e.user_id = n.user_id and e.order_id = n.named_id and e.venue = n.venue and e.session = n.session
                 and e.exec_id = n.ref_exec_id and e.trade_date <= n.trade_date
               order by e.trade_date desc limit 1
          ) t on n.kind in ('bust', 'correct')
    ),
    faulted as materialized (   -- what is wrong with the report itself, whenever it is looked at
        select k.*, case
                when k.order_id is null or k.user_id is null then 'unknown order'
                when k.status in ('queued', 'armed', 'funds_held') then 'report of an order that nobody sent'
                when k.kind in ('bust', 'correct') and (
                    num_nulls(k.exec_id, k.trade_date, k.ref_exec_id) > 0
                    or (k.kind = 'correct' and (k.reported_qty <= 0 or k.reported_px <= 0))
                ) then 'malformed bust or correction'
                when k.is_pending_new then case
                    when k.kind = 'fill' and k.whole_qty - k.cum_qty_micros <= 0
                        then 'fill of a replacement with nothing left to trade'
                    when coalesce(k.kind, '') not in ('replaced', 'accepted', 'fill', 'cancelled', 'expired',
                                                      'replace_rejected', 'rejected', 'bust', 'correct')
                        then 'report of a replacement that is pending' end
                when k.kind = 'fill' then fault_of_fill_v1(k.exec_id, k.trade_date, k.reported_qty, k.reported_px,
                                                           k.is_known, k.is_same, k.order_qty_micros, k.notional_micros)
                when k.kind in ('bust', 'correct')
                    then fault_of_revision_v1(k.kind, k.is_known, k.is_same, k.reported_qty, k.order_qty_micros,
                                              k.taken_exec_id is not null, k.taken_kind, k.superseded_by)
                when k.kind = 'rejected' and not k.had_ended and k.cum_qty_micros > 0
                    then 'rejection of an order with fills'
                when coalesce(k.kind, '') not in ('accepted', 'cancelled', 'expired', 'rejected', 'cancel_rejected',
                                                  'replaced', 'replace_rejected') then 'unknown kind of report'
            end as fault
          from known k
    ),
    judged as (   -- whether it can be applied now, then by its kind
        select f.*, case
                when f.order_id is null or f.user_id is null then 'quarantined'   -- of nobody, so it waits for nobody
                when f.user_id <> all (p_locked) then 'deferred'
                when locked_ownership_v1(f.owner_state) is not null then 'deferred'
                when exists (select from inbox older where older.user_id = f.user_id and older.id < f.id)
                    then 'deferred'
                when f.fault is not null then 'quarantined'
                when f.is_pending_new then case
                    when f.kind in ('replace_rejected', 'rejected') then 'refuse'
                    when f.kind in ('bust', 'correct') then 'early'
                    else 'replace' end
                when f.kind = 'fill' then case
                    when f.is_known then 'duplicate'
                    when is_beyond_v1(f.order_qty_micros, f.notional_micros, f.cum_qty_micros, f.cum_cost_exact,
                                      f.reported_qty, f.reported_qty::numeric * f.reported_px)
                        then case when is_awaited_v1(f.user_id, f.named_id, f.venue, f.session, f.trade_date, f.exec_id)
                                  then 'supersede' else 'early' end
                    else 'fill' end
                when f.kind in ('bust', 'correct') then case
                    when f.is_known then 'duplicate'
                    when f.taken_exec_id is null then 'early'
                    when f.superseded_by is not null then 'duplicate'
                    -- of an order by amount only one that stands instead of nothing; alone it may be more than that
                    when f.kind = 'correct' and is_beyond_v1(
                            f.order_qty_micros, case when f.taken_qty = 0 then f.notional_micros end,
                            f.cum_qty_micros::numeric - f.taken_qty, f.cum_cost_exact, f.reported_qty,
                            least(f.reported_qty::numeric * f.reported_px, f.notional_micros::numeric * 1000000))
                        then case when is_awaited_v1(f.user_id, f.named_id, f.venue, f.session, f.trade_date, f.exec_id)
                                  then 'supersede' else 'early' end
                    when f.kind = 'correct' and f.taken_qty = 0 then 'fill'
                    else 'revise' end
                -- acknowledge_orders_v1 passed it over a moment ago: its user was still halted then, or had an older
                -- report
                when f.kind = 'accepted' then 'deferred'
                when f.kind in ('cancelled', 'expired', 'rejected')
                    then case when f.had_ended then 'duplicate' else 'end' end
                when f.kind = 'cancel_rejected'
                    then case when f.status = 'pending_cancel' then 'restore' else 'duplicate' end
                else 'duplicate'   -- of a replacement that is pending no more
            end as verdict
          from faulted f
    )
    select j.id, j.user_id, j.order_id, j.named_id, j.venue, j.session, j.venue_seq, j.body,
           j.kind, j.exec_id, j.ref_exec_id, j.trade_date, j.venue_at, j.venue_reason, j.venue_order_id,
           j.reported_qty, j.reported_px, j.reported_leaves, j.reported_status,
           j.symbol, j.side, j.status, j.had_ended, j.event_seq, j.order_qty_micros, j.notional_micros,
           j.hold_px_micros, j.cum_qty_micros, j.cum_cost_exact, j.cum_cost_micros,
           j.held_cash_micros, j.held_shares_micros,
           j.epoch, j.write_seq, j.entry_seq, j.order_event_seq, j.chain_head, j.recorded_at,
           j.position_qty, j.position_held, j.position_basis,
           j.taken_exec_id, j.taken_date, j.taken_reported_qty, j.taken_reported_px, j.taken_qty, j.taken_px,
           j.taken_basis, j.taken_settles_on, j.taken_owed,
           j.new_id, j.new_order_event_seq, j.whole_qty, j.new_hold_px, j.fault, j.verdict
      from judged j;
end $$;
