-- An entry's id is derived from what caused it, and the cause is unique already: the order (orders), the order's event
-- (order_events), the fill (executions), the deposit, the transfer. An index over the ids is written for every order and read
-- by nobody. That ids are unique is checked (`entries_have_their_own_id`).
-- Lock: `journal_entries` exclusively for a moment. Undo: the index of 0001.

set local search_path = brokerage;
set local lock_timeout = '10s';

drop index journal_entries_entry_id;
