-- The hash chain of every user, recomputed from the first entry to users.chain_head.
-- The canonical form is spelled out here apart from entry_hash_v1, with which the procedures write: from what is
-- stored, from the postings as they lie there, with other functions of text. So a fault of the writer's code is no
-- fault of this one. Format 1: sha256(previous_hash || utf8 of '1|user|seq|entry_id|kind|order_id or -|occurred_at in
-- microseconds|lines'), a line being 'line,account,unit,direction,amount' and ';' between lines. The first
-- previous_hash is 32 zero bytes.
with lines as (
    select user_id, entry_seq,
           string_agg(line || ',' || account || ',' || unit || ',' || direction || ',' || amount_micros, ';'
                      order by line) as text
      from all_postings
     group by user_id, entry_seq
),
recomputed as (
    select e.user_id, e.seq, e.previous_hash, e.hash,
           sha256(e.previous_hash || convert_to(concat_ws('|', '1', e.user_id, e.seq, e.entry_id, e.kind,
                  coalesce(e.order_id::text, '-'), trunc(extract(epoch from e.occurred_at) * 1000000), l.text),
                  'UTF8')) as true_hash,
           lag(e.hash, 1, decode(repeat('00', 32), 'hex')) over by_seq as true_previous_hash
      from all_journal_entries e
      left join lines l on l.user_id = e.user_id and l.entry_seq = e.seq
    window by_seq as (partition by e.user_id order by e.seq)
),
heads as (
    select distinct on (user_id) user_id, seq, hash from all_journal_entries order by user_id, seq desc
)
select user_id, seq,
       case when hash <> true_hash then 'hash does not match the entry' else 'does not continue the entry before' end
           as problem
  from recomputed
 where hash <> true_hash or previous_hash <> true_previous_hash
union all
select coalesce(u.user_id, h.user_id), coalesce(h.seq, 0), 'users.chain_head is not the last hash'
  from brokerage.users u
  full join heads h on h.user_id = u.user_id
 where u.purged_at is null
   and u.chain_head is distinct from coalesce(h.hash, decode(repeat('00', 32), 'hex'))
