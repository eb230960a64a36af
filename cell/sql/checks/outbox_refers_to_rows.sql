-- Every outbox row names an event or an entry, and they are there: what is not, can never be published.
select b.id, b.user_id,
       case when b.order_event_seq is null and b.entry_seq is null then 'refers to nothing'
            when b.order_event_seq is not null and e.stream_seq is null then 'its order event is missing'
            when b.order_event_seq is not null and e.stream_seq is distinct from b.order_stream_seq
                then 'stream numbers differ'
            else 'its entry is missing' end as problem
  from brokerage.outbox b
  left join brokerage.order_events e
    on e.user_id = b.user_id and e.order_id = b.order_id and e.seq = b.order_event_seq
  left join brokerage.journal_entries j on j.user_id = b.user_id and j.seq = b.entry_seq
 where (b.order_event_seq is null and b.entry_seq is null)
    or (b.order_event_seq is not null and (e.stream_seq is null or e.stream_seq is distinct from b.order_stream_seq))
    or (b.entry_seq is not null and j.seq is null)
