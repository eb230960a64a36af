-- Entries and order events are numbered 1, 2, 3 ... per user, each number once, up to the heads on the user's row. The
-- only numbers that are missing are those that a restore has lost, and none of these is given out again.
with numbers as not materialized (
    select user_id, 'ledger' as stream, seq from all_journal_entries
    union all
    select user_id, 'orders', stream_seq from all_order_events
),
streams as (
    select user_id, stream, min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count,
           count(distinct seq) as number_count
      from numbers group by user_id, stream
),
lost as (
    select user_id, stream, max(last_seq) as last_seq, sum(last_seq - first_seq + 1) as number_count
      from lost_sequences group by user_id, stream
),
given_again as (
    select distinct n.user_id, n.stream
      from lost_sequences l
      join numbers n on n.user_id = l.user_id and n.stream = l.stream and n.seq between l.first_seq and l.last_seq
),
heads as (
    select u.user_id, h.stream, h.head
      from brokerage.users u
      cross join lateral (values ('ledger', u.entry_seq), ('orders', u.order_event_seq)) as h (stream, head)
     where u.purged_at is null
)
select coalesce(h.user_id, s.user_id) as user_id, coalesce(h.stream, s.stream) as stream, h.head, s.first_seq,
       s.last_seq, s.row_count
  from heads h
  full join streams s on s.user_id = h.user_id and s.stream = h.stream
  left join lost l on l.user_id = h.user_id and l.stream = h.stream
  left join given_again g on g.user_id = h.user_id and g.stream = h.stream
 where h.head is distinct from greatest(s.last_seq, l.last_seq, 0)
    or s.first_seq < 1
    or s.row_count <> s.number_count
    or coalesce(s.number_count, 0) + coalesce(l.number_count, 0) <> h.head
    or g.user_id is not null
