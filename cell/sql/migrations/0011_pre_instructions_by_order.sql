-- As 0008: an instruction is found by its order.
-- Lock: `venue_instructions` exclusively for a moment; it is small. Undo: the index of 0001.

set local search_path = brokerage;
set local lock_timeout = '10s';

drop index venue_instructions_order;
create index venue_instructions_order on venue_instructions (order_id);
