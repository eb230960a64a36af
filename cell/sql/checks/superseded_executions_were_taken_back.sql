-- A superseded execution had no room: it is a trade of the venue's that is not in the books. So what supersedes it is
-- known: an execution that takes it back, or a report that will (early, in the inbox, or with a person). It changed
-- nothing, and what stands of it is what stood before: of a fill nothing, of a correction what stands of the execution
-- that it takes back.
select x.user_id, x.order_id, x.exec_id, x.stands_qty_micros, s.qty as qty_before,
       case when not k.is_taken_back then 'nobody takes it back'
            when x.cost_micros <> 0 or x.qty_change_micros <> 0 or x.basis_change_micros <> 0
                then 'it changed something'
            else 'something else stands of it' end as problem
  from all_executions x
  left join all_executions t on t.user_id = x.user_id and t.order_id = x.order_id and t.venue = x.venue
        and t.session = x.session and t.trade_date = x.ref_trade_date and t.exec_id = x.ref_exec_id
 cross join lateral (
       select coalesce(t.stands_qty_micros, t.last_qty_micros, 0) as qty,
              coalesce(t.stands_px_micros, t.last_px_micros, x.last_px_micros) as px,
              coalesce(t.basis_micros, 0) as basis,
              case when x.side = 'buy' then coalesce(t.owed_micros, 0) end as owed) s
 cross join lateral (
       select exists (select from all_executions y
                       where y.user_id = x.user_id and y.order_id = x.order_id and y.venue = x.venue
                           and y.session = x.session
                         and y.ref_exec_id = x.exec_id and y.ref_trade_date = x.trade_date)
           or exists (select from brokerage.early_reports e
                       where e.user_id = x.user_id and e.order_id = x.order_id and e.ref_exec_id = x.exec_id)
           or exists (select from brokerage.inbox i
                       where i.user_id = x.user_id and i.order_id = x.order_id and i.body ->> 'exec_ref_id' = x.exec_id)
           or exists (select from brokerage.quarantined_reports q
                       where q.order_id = x.order_id and q.body ->> 'exec_ref_id' = x.exec_id) as is_taken_back) k
 where x.stands_qty_micros is not null
   and (not k.is_taken_back
        or x.cost_micros <> 0 or x.qty_change_micros <> 0 or x.basis_change_micros <> 0
        or (x.stands_qty_micros, x.stands_px_micros, x.basis_micros, x.owed_micros) is distinct from (s.qty, s.px,
                s.basis, s.owed))
