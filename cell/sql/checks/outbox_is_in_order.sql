-- Rows are published by id: per user, the numbers of each stream and of the writes grow with it, and none is of a later
-- write than the user's last.
select b.id, b.user_id, b.write_seq, b.order_stream_seq, b.entry_seq
  from (
        select id, user_id, write_seq, order_stream_seq, entry_seq,
               max(write_seq) over before as write_before, max(order_stream_seq) over before as event_before,
               max(entry_seq) over before as entry_before
          from brokerage.outbox
        window before as (partition by user_id order by id rows between unbounded preceding and 1 preceding)
       ) b
  join brokerage.users u on u.user_id = b.user_id
 where b.write_seq < b.write_before or b.order_stream_seq <= b.event_before or b.entry_seq <= b.entry_before
    or b.write_seq > u.write_seq
