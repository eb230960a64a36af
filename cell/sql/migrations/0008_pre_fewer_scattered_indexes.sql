-- Indexes that begin with the user scatter what is written now over as many pages as there are customers who trade, and
-- leave those pages half empty. An order's id sorts by time, so what is found by order is kept in the order of orders: one
-- page is written, and pages stay full.
-- Lock: `order_events` exclusively while its key is built again, about 1 s per million rows; the rest for a moment.
-- Undo: put the three indexes of 0001 back.

set local search_path = brokerage;

-- A user's events are found through his orders, which are indexed by user.
alter table order_events drop constraint order_events_pkey, add primary key (order_id, seq);

drop index venue_instructions_order;
create index venue_instructions_order on venue_instructions (order_id);

-- An entry's id is derived from what caused it, and the cause is unique already: the order (orders), the order's event
-- (order_events), the fill (executions), the deposit, the transfer. That ids are unique is checked (`entries_have_their_own_id`).
drop index journal_entries_entry_id;
