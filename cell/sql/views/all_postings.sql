-- Every posting: what is written now and what has been archived. For reads and checks; nothing that writes uses it.
create or replace view all_postings as
    select user_id, entry_seq, line, account, unit, direction, amount_micros
      from brokerage.postings
    union all
    select user_id, entry_seq, line, account, unit, direction, amount_micros
      from archive.postings;
