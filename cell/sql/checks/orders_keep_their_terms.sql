-- An order's terms fit each other: a limit where its type has one and nowhere else, a stop likewise; a buy at a limit
-- holds at that limit; what is good till cancelled has no end; and it does not know a write that its user does not
-- know.
select o.user_id, o.order_id, o.type, o.time_in_force, o.limit_px_micros, o.stop_px_micros, o.hold_px_micros,
       o.write_seq
  from brokerage.orders o
  join brokerage.users u on u.user_id = o.user_id
 where (o.type in ('limit', 'stop_limit')) <> (o.limit_px_micros is not null)
    or (o.type in ('stop', 'stop_limit')) <> (o.stop_px_micros is not null)
    or (o.side = 'buy' and o.type in ('limit', 'stop_limit') and o.hold_px_micros is distinct from o.limit_px_micros)
    or (o.time_in_force = 'gtc' and o.expires_at is not null)
    or o.write_seq > u.write_seq
