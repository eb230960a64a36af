-- An idempotency key that was accepted names a deed of its own user that is there; and every order, deposit and transfer of
-- the last six days (keys are kept for seven at least) has exactly one such key: without it, a repeat would do it again.
-- What an order's key remembers of its terms (its first answer) is what the order says.
with deeds as (
    select user_id, order_id as id, created_at as at from brokerage.orders
    union all
    select user_id, deposit_id, at from brokerage.deposits
    union all
    select user_id, transfer_id, at from brokerage.share_transfers
),
accepted as (
    select user_id, resource_id as id, count(*) as key_count
      from brokerage.idempotency_keys where outcome = 'accepted' group by user_id, resource_id
)
select coalesce(d.user_id, k.user_id) as user_id, coalesce(d.id, k.id) as id, coalesce(k.key_count, 0) as key_count,
       case when d.id is null then 'a key of a deed that is not there'
            when k.id is null then 'a deed without its key'
            else 'a deed with several keys' end as problem
  from deeds d
  full join accepted k on k.user_id = d.user_id and k.id = d.id
 where d.id is null or k.key_count > 1 or (k.id is null and d.at > now() - interval '6 days')
union all
select k.user_id, k.resource_id, 1, 'a cancel of an order that is not there'
  from brokerage.idempotency_keys k
 where k.outcome in ('cancelled', 'pending_cancel')
   and not exists (select from brokerage.orders o where o.user_id = k.user_id and o.order_id = k.resource_id)
union all
select o.user_id, o.order_id, 1, 'the key remembers other terms'
  from brokerage.idempotency_keys k
  join brokerage.orders o on o.user_id = k.user_id and o.order_id = k.resource_id
 where k.outcome = 'accepted'
   and (o.type in ('limit', 'stop_limit') and not (k.figures ? 'symbol') and (k.figures ->> 'hold_px')::bigint <> o.limit_px_micros
        or k.figures ? 'symbol' and (k.figures ->> 'symbol', k.figures ->> 'side', k.figures ->> 'type',
                                     k.figures ->> 'time_in_force', (k.figures ->> 'limit_px_micros')::bigint)
               is distinct from (o.symbol, o.side, o.type, o.time_in_force, o.limit_px_micros))
