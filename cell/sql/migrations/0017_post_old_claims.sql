-- The procedures that 0016's release calls otherwise. Until every process is of that release the old ones stay.
-- Lock: none that matters. Undo: put the old functions back.

set local search_path = brokerage;

drop function if exists claim_instructions_v1(integer, timestamptz);
drop function if exists release_queued_v1(integer, timestamptz, text);
drop function if exists set_reference_prices_v1(text[], bigint[], timestamptz);
drop function if exists trigger_stops_v1(text[], bigint[], timestamptz[], integer, timestamptz, text, boolean);
drop function if exists replace_orders_v1(
    uuid[], text[], bytea[], uuid[], uuid[], integer[], bigint[], bigint[], bigint[], text[], timestamptz, boolean, text, text[]);
