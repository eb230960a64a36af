-- Why: procedures that are called by another name now, and the old name of the published prices: what the release
-- before 0031 calls. Lock: none but a moment on each. Undo: install that release's procedures, recreate the view of
-- 0032.

set local search_path = brokerage;

drop function if exists expire_orders_v1(timestamptz, uuid, integer, timestamptz);      -- expire_day_orders_v1
drop function if exists trigger_stops_v1(integer, timestamptz, text, uuid);             -- trigger_reached_stops_v1
drop function if exists release_queued_v1(integer, timestamptz, text, uuid);            -- release_queued_orders_v1
drop function if exists send_in_rounds_v1(uuid[], uuid[], text, text, boolean);         -- advance_in_rounds_v1
drop function if exists move_orders_v1(uuid[], uuid[], text[], text, text, text);       -- advance_orders_v1
drop function if exists lock_in_turn_v1(text, uuid, integer, integer, timestamptz);     -- lock_round_robin_v1
drop view if exists told_prices;
