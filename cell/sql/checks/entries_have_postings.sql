-- No entry without postings, no posting without its entry, and an entry's lines are 1, 2, 3 ... without a hole.
select coalesce(e.user_id, p.user_id) as user_id, coalesce(e.seq, p.entry_seq) as entry_seq,
       case when p.user_id is null then 'entry without postings'
            when e.user_id is null then 'postings without entry'
            else 'lines are not 1 to n' end as problem
  from all_journal_entries e
  full join (
        select user_id, entry_seq, min(line) as first_line, max(line) as last_line, count(*) as line_count,
               count(distinct line) as number_count
          from all_postings
         group by user_id, entry_seq
       ) p on p.user_id = e.user_id and p.entry_seq = e.seq
 where e.user_id is null or p.user_id is null or first_line <> 1 or last_line <> line_count
     or number_count <> line_count
