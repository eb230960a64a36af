-- Entries and order events are numbered 1, 2, 3 ... per user, each number once, up to the heads on the user's row.
with streams as (
    select user_id, 'ledger' as stream, min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count,
           count(distinct seq) as number_count
      from all_journal_entries group by user_id
    union all
    select user_id, 'orders', min(stream_seq), max(stream_seq), count(*), count(distinct stream_seq)
      from all_order_events group by user_id
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
 where h.head is distinct from coalesce(s.last_seq, 0)
    or s.first_seq <> 1
    or s.last_seq <> s.row_count
    or s.last_seq <> s.number_count
