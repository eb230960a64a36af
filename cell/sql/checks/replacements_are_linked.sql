-- A replacement and the order that it replaces name each other, are of one symbol, side and type, and agree on where
-- they stand: the old one is pending as long as the new one is (unless it ended meanwhile), and ends `replaced` for one
-- that is live. A replacement that was refused is named by nobody, but names an order that is there. No order is
-- replaced by two.
select coalesce(n.user_id, o.user_id) as user_id, coalesce(n.order_id, o.replaced_by) as order_id, n.replaces, n.status,
       o.order_id as old_order_id, o.status as old_status,
       case when n.order_id is null then 'replaced by an order that is not there'
            when o.order_id is null then 'not named by the order that it replaces'
            when (n.symbol, n.side, n.type) is distinct from (o.symbol, o.side, o.type)
                then 'replaces another symbol, side or type'
            else 'the two do not agree on where they stand' end as problem
  from (select * from brokerage.orders
         where replaces is not null and not (status = 'rejected' and event_seq = 4)) n
  full join (select * from brokerage.orders where replaced_by is not null) o
    on o.user_id = n.user_id and o.replaced_by = n.order_id and o.order_id = n.replaces
 where n.order_id is null or o.order_id is null
    or (n.symbol, n.side, n.type) is distinct from (o.symbol, o.side, o.type)
    or (n.status = 'pending_replace' and n.replaced_by is null) and o.status = 'replaced'
    or not (n.status = 'pending_replace' and n.replaced_by is null) and o.status = 'pending_replace'
union all
select n.user_id, n.order_id, n.replaces, n.status, null, null, 'replaces an order that is not there'
  from brokerage.orders n
 where n.replaces is not null and n.status = 'rejected'
   and not exists (select from brokerage.orders o where o.user_id = n.user_id and o.order_id = n.replaces)
