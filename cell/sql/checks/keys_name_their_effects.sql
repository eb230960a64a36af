-- An idempotency key that was accepted names an effect of its own user that is there; and every order, deposit and
-- transfer of the last six days (keys are kept for seven at least) has exactly one such key: without it, a repeat would
-- do it again. A key is as old as its effect: one that seems older would be forgotten too early.
-- What a key remembers (the first answer, of which every repeat is made) is whole, fits its outcome and is what the
-- order says.
with effects as (
    select user_id, order_id as id, created_at as at from brokerage.orders
    union all
    select user_id, deposit_id, at from brokerage.deposits
    union all
    select user_id, transfer_id, at from brokerage.share_transfers
),
accepted as (
    select user_id, resource_id as id, count(*) as key_count, min(at) as at
      from brokerage.idempotency_keys where outcome = 'accepted' group by user_id, resource_id
)
select coalesce(d.user_id, k.user_id) as user_id, coalesce(d.id, k.id) as id, coalesce(k.key_count, 0) as key_count,
       case when d.id is null then 'a key of an effect that is not there'
            when k.id is null then 'an effect without its key'
            when k.key_count > 1 then 'an effect with several keys'
            else 'a key of another time than its effect' end as problem
  from effects d
  full join accepted k on k.user_id = d.user_id and k.id = d.id
 where d.id is null or k.key_count > 1 or (k.id is null and d.at > clock_v1() - interval '6 days')
     or k.at <> d.at
union all
select k.user_id, k.resource_id, 1, 'a cancel of an order that is not there'
  from brokerage.idempotency_keys k
 where k.outcome in ('cancelled', 'pending_cancel')
   and not exists (select from brokerage.orders o where o.user_id = k.user_id and o.order_id = k.resource_id)
union all
select user_id, resource_id, 1, 'a cancel or refusal that remembers something else'
  from brokerage.idempotency_keys
 where case when outcome in ('cancelled', 'pending_cancel') then figures ->> 'status' is distinct from outcome
            else outcome <> 'accepted' and figures ? 'order_id' end
union all
select o.user_id, o.order_id, 1, 'the key remembers other terms'
  from brokerage.idempotency_keys k
  join brokerage.orders o on o.user_id = k.user_id and o.order_id = k.resource_id
 where k.outcome = 'accepted'
   and case when o.replaces is null then   -- what was held, at which price, and how the order began
                (k.figures ->> 'hold_px')::bigint
                    is distinct from coalesce(o.limit_px_micros, o.hold_px_micros, (k.figures ->> 'hold_px')::bigint, 0)
                or (k.figures ->> 'held')::bigint is distinct from case
                    when o.side = 'sell'
                        then case when o.notional_micros is null then 0
                                  else coalesce((k.figures ->> 'held')::bigint, 0) end
                    else coalesce(o.notional_micros,
                                  ceil(o.order_qty_micros::numeric * o.hold_px_micros * 0.000001)) end
                or coalesce(k.figures ->> 'status', 'funds_held') not in ('funds_held', 'armed', 'queued')
            else   -- the row as it began
                (k.figures ->> 'symbol', k.figures ->> 'side', k.figures ->> 'type', k.figures ->> 'time_in_force',
                 (k.figures ->> 'limit_px_micros')::bigint, (k.figures ->> 'stop_px_micros')::bigint)
                    is distinct from (o.symbol, o.side, o.type, o.time_in_force, o.limit_px_micros,
                                      o.stop_px_micros) end
