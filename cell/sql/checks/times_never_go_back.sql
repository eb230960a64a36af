-- What was recorded of a user is in the order of the writes: steps, entries, orders by id and executions never go back
-- in time, and users.recorded_at, after which the next write is recorded, is not before the newest of them.
-- Of what several processes' clocks recorded before that was so (up to users.recorded_since) the order is not judged.
with kept as (select user_id, recorded_at, recorded_since from brokerage.users where purged_at is null),
recorded as (
    select user_id, order_id::text as id, 'steps of all orders' as of, at,
           lag(at) over (partition by user_id order by stream_seq) as before from all_order_events
    union all
    select user_id, order_id::text, 'steps of an order', at,
           lag(at) over (partition by user_id, order_id order by seq) from all_order_events
    union all
    select user_id, seq::text, 'entries', occurred_at,
           lag(occurred_at) over (partition by user_id order by seq) from all_journal_entries
    union all
    select user_id, order_id::text, 'orders', created_at,
           lag(created_at) over (partition by user_id order by order_id) from brokerage.orders
    union all
    select user_id, exec_id, 'executions', recorded_at,
           lag(recorded_at) over (partition by user_id order by entry_seq, recorded_at)
      from all_executions where recorded_at is not null
),
newest as (
    select user_id, max(at) as at from (
        select user_id, at from recorded
        union all select user_id, updated_at from brokerage.orders
        union all select user_id, at from brokerage.deposits
        union all select user_id, at from brokerage.share_transfers
        union all select user_id, at from brokerage.lifted_restrictions
    ) r group by user_id
)
select r.user_id, r.id, r.of || ' go back' as problem, r.at, r.before as other_at
  from recorded r join kept k on k.user_id = r.user_id
 where r.before > greatest(r.at, k.recorded_since)
union all
select o.user_id, o.order_id::text, 'an order and the time in its id', o.created_at, uuid_extract_timestamp(o.order_id)
  from brokerage.orders o join kept k on k.user_id = o.user_id
 where o.created_at > coalesce(k.recorded_since, '-infinity')
   and uuid_extract_timestamp(o.order_id) is distinct from date_trunc('milliseconds', o.created_at)
union all
select n.user_id, null, 'the last recorded time is before the newest', k.recorded_at, n.at
  from newest n join kept k on k.user_id = n.user_id
 where k.recorded_at < n.at
