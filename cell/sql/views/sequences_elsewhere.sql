-- Which numbers of a user's streams other cells have published: before the user came here, and while they were away.
-- Consumers find them in those cells' topics; comparisons of this cell's own topics leave them out.
create or replace view sequences_elsewhere as
    select r.user_id, r.stream, r.first_seq, r.last_seq from (
        select a.user_id, s.stream, s.last_seq,
               1 + coalesce((select max(case s.stream when 'orders' then d.orders_published else d.ledger_published end)
                               from brokerage.departures d
                              where d.user_id = a.user_id and d.ownership_epoch < a.ownership_epoch), 0) as first_seq
          from brokerage.arrivals a
          cross join lateral (values ('orders', a.orders_published), ('ledger', a.ledger_published))
               as s (stream, last_seq)
         where a.activated_at is not null
    ) r where r.first_seq <= r.last_seq;
