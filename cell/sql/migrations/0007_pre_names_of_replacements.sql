-- A replacement may carry a client_order_id of its own.
-- Lock: none. Undo: put the old function back.

set local search_path = brokerage;

-- It takes more now; two overloads of one name would be ambiguous.
drop function if exists replace_orders_v1(
    uuid[], text[], bytea[], uuid[], uuid[], integer[], bigint[], bigint[], bigint[], text[], timestamptz, boolean, text);
