-- What happened in one write has one time: an order and its first step and its hold, a fill's step, row and entry, a
-- deposit or transfer and its entry, an unpublished outbox row and what it publishes. Entries cannot be dated back: the
-- chain knows.
select o.user_id, o.order_id as id, 'an order and its first step' as problem, o.created_at as at, v.at as other_at
  from brokerage.orders o
  join all_order_events v on v.user_id = o.user_id and v.order_id = o.order_id and v.seq = 3
 where v.at <> o.created_at
union all
select o.user_id, o.order_id, 'an order and its hold', o.created_at, e.occurred_at
  from brokerage.orders o
  join all_journal_entries e on e.user_id = o.user_id and e.order_id = o.order_id and e.kind = 'hold'
 where o.replaces is null and e.occurred_at <> o.created_at
union all
select v.user_id, v.order_id, 'a step of an execution and its entry', v.at, min(e.occurred_at)
  from all_order_events v
  join all_executions x on x.user_id = v.user_id and x.order_id = v.order_id and x.exec_id = v.exec_id
        and x.last_px_micros = v.last_px_micros
        -- that one has no entry
        and not (x.cost_micros = 0 and coalesce(x.qty_change_micros, x.last_qty_micros) = 0)
  join all_journal_entries e on e.user_id = x.user_id and e.seq = x.entry_seq
 group by v.user_id, v.order_id, v.seq, v.at
having v.at <> all (array_agg(e.occurred_at))
union all
select x.user_id, x.order_id, 'an execution and its entry', x.recorded_at, e.occurred_at
  from all_executions x
  join all_journal_entries e on e.user_id = x.user_id and e.seq = x.entry_seq
 where e.occurred_at <> x.recorded_at
     and not (x.cost_micros = 0 and coalesce(x.qty_change_micros, x.last_qty_micros) = 0)
union all
select d.user_id, d.id, 'a deposit or transfer and its entry', d.at, e.occurred_at
  from (select user_id, deposit_id as id, at from brokerage.deposits
        union all
        select user_id, transfer_id, coalesce(decided_at, at) from brokerage.share_transfers
         where status = 'accepted') d
  join all_journal_entries e on e.user_id = d.user_id and e.entry_id = d.id
 where e.occurred_at <> d.at
union all
select b.user_id, b.order_id, 'an outbox row and what it publishes', b.occurred_at, coalesce(v.at, e.occurred_at)
  from brokerage.outbox b
  left join brokerage.order_events v on v.user_id = b.user_id and v.order_id = b.order_id and v.seq = b.order_event_seq
  left join brokerage.journal_entries e on e.user_id = b.user_id and e.seq = b.entry_seq
 where b.occurred_at <> v.at or b.occurred_at <> e.occurred_at
