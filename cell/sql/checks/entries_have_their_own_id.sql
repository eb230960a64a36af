-- No two entries of a user have one id: it is derived from what caused the entry, and nothing is posted twice.
select user_id, entry_id, count(*) as entries, min(seq) as first_seq, max(seq) as last_seq
  from all_journal_entries
 group by user_id, entry_id
having count(*) > 1
