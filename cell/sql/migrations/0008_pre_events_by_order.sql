-- Indexes that begin with the user scatter what is written now over as many pages as there are customers who trade, and
-- leave those pages half empty. An order's id sorts by time, so what is found by order is kept in the order of orders: one
-- page is written, and pages stay full. A user's events are found through his orders, which are indexed by user.
-- Lock: `order_events` exclusively while its key is built again, about 1 s per million rows: apply it in a quiet hour, and
-- not beside `cells check` or `cells reconcile`, which read the table for long. One table per file, so that no other lock is
-- waited for under this one. Undo: the key of 0001.

set local search_path = brokerage;
set local lock_timeout = '10s';

alter table order_events drop constraint order_events_pkey, add primary key (order_id, seq);
