-- Publication is in order per user, so what is still unpublished of a stream is its end: without a hole, up to the
-- head, each number once. A hole would be an event that nobody publishes.
select u.user_id, s.stream, s.first_seq, s.last_seq, s.row_count,
       case s.stream when 'orders' then u.order_event_seq else u.entry_seq end as head
  from (
        select user_id, 'orders' as stream, min(order_stream_seq) as first_seq, max(order_stream_seq) as last_seq,
               count(order_stream_seq) as row_count, count(distinct order_stream_seq) as number_count
          from brokerage.outbox where order_stream_seq is not null group by user_id
        union all
        select user_id, 'ledger', min(entry_seq), max(entry_seq), count(entry_seq), count(distinct entry_seq)
          from brokerage.outbox where entry_seq is not null group by user_id
       ) s
  left join brokerage.users u on u.user_id = s.user_id
 where u.user_id is null
    or s.last_seq <> case s.stream when 'orders' then u.order_event_seq else u.entry_seq end
    or s.last_seq - s.first_seq + 1 <> s.row_count
    or s.number_count <> s.row_count
