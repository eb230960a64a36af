-- How many events of a stream stand in the books here and were, or will be, published by other cells: those of before a
-- user came, and those that travelled unpublished with one who has left. What a cell publishes is all events without
-- these.
create or replace view streams_elsewhere as
    select s.user_id, s.stream, s.last_seq - s.first_seq + 1 as events
      from sequences_elsewhere s
      join brokerage.users u on u.user_id = s.user_id and u.purged_at is null
    union all
    select u.user_id, t.stream, t.last_seq - t.published
      from brokerage.users u
      cross join lateral (
          select d.orders_published, d.ledger_published from brokerage.departures d
           where d.user_id = u.user_id and d.departed_at is not null order by d.ownership_epoch desc limit 1) d
      cross join lateral (values ('orders', u.order_event_seq, d.orders_published),
                                 ('ledger', u.entry_seq, d.ledger_published)) as t (stream, last_seq, published)
     where u.owner_state = 'departed' and u.purged_at is null;
