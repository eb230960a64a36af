-- A transfer of shares that waits is approved or refused by a person: who, why and when stand on its row.
-- Lock: `share_transfers` exclusively for a moment; its rows are few (one per transfer of a customer).
-- Undo: drop the index, the columns and the second check, and put the first check back without 'refused'.

set local search_path = brokerage;
set local lock_timeout = '5s';

alter table share_transfers
    add column decided_at timestamptz,
    add column decided_by text check (length(decided_by) between 1 and 200),
    add column reason text check (length(reason) between 1 and 500),
    add column decided_write_seq bigint,   -- of the user's writes: tells a mover that the row changed
    drop constraint share_transfers_status_check,
    add constraint share_transfers_status_check check (status in ('pending', 'accepted', 'refused')),
    -- one that was accepted at once was decided by nobody
    add constraint share_transfers_decision_check check (
        num_nulls(decided_at, decided_by, reason, decided_write_seq) = case when status = 'refused' then 0
            when status = 'pending' then 4 when decided_at is null then 4 else 0 end);

-- What waits, oldest first; the ids sort by time.
create index share_transfers_waiting on share_transfers (transfer_id) where status = 'pending';
