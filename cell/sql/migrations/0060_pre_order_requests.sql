-- Which request placed an order, so that worker and relay can name it in their lines about that order. Written only for
-- the orders that leave lines (`cell/order_log.py`), one in a hundred: of all others both columns are null and take no
-- byte.
-- Lock: access exclusive on orders, for a moment: nullable, no default, no check, so no row is read or rewritten.
-- Undo: drop both columns.

alter table brokerage.orders
    add column request_id text,   -- X-Request-Id as it came or was given, at most 128 characters
    add column trace_id   text;   -- 32 hex digits of the W3C traceparent
