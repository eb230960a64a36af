-- An order's steps as a customer sees them: that it passed `pending` and `validated` follows from its acceptance, and
-- is not stored.
create or replace view order_history as
    select user_id, order_id, seq, from_status, to_status, reason, at from all_order_events
    union all
    select e.user_id, e.order_id, v.seq, v.from_status, v.to_status, null, e.at
      from all_order_events e
      cross join (values (1, null, 'pending'), (2, 'pending', 'validated')) as v (seq, from_status, to_status)
     where e.seq = 3;
