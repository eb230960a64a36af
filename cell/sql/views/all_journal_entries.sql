-- Every journal entry: what is written now and what has been archived. For reads and checks; nothing that writes uses
-- it.
create or replace view all_journal_entries as
    select user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash
      from brokerage.journal_entries
    union all
    select user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash
      from archive.journal_entries;
