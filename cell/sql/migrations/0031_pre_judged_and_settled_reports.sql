-- Why: the application of reports is three procedures instead of one statement of 400 lines; these are the rows that
-- the first hands to the second, and the second to the third (judge_, settle_ and write_reports_v1). No table has such
-- a column.
-- Lock: none. Undo: install the procedures of the release before, drop the two types.

set local search_path = brokerage;

create type judged_report as (
    -- the order that it is about, and the one that it names
    inbox_id bigint, user_id uuid, order_id uuid, named_order_id uuid,
    venue text, session text, venue_seq bigint, body jsonb,
    kind text, exec_id text, ref_exec_id text, trade_date date, venue_at timestamptz, venue_reason text,
    venue_order_id text,
    reported_qty bigint, reported_px bigint, reported_leaves bigint, reported_status text,
    -- the order and the user before the report
    symbol text, side text, status text, had_ended boolean, event_seq integer, order_qty_micros bigint,
    notional_micros bigint,
    hold_px_micros bigint, cum_qty_micros bigint, cum_cost_exact numeric, cum_cost_micros bigint,
    held_cash_micros bigint, held_shares_micros bigint,
    epoch bigint, write_seq bigint, entry_seq bigint, order_event_seq bigint, chain_head bytea, recorded_at timestamptz,
    position_qty bigint, position_held bigint, position_basis bigint,
    -- the execution that a bust or correction takes back: as reported, and what of it stands
    taken_exec_id text, taken_date date, taken_reported_qty bigint, taken_reported_px bigint, taken_qty bigint,
    taken_px bigint,
    taken_basis bigint, taken_settles_on date, taken_owed bigint,
    -- the order's replacement that is pending
    new_id uuid, new_order_event_seq integer, whole_qty bigint, new_hold_px bigint,
    fault text, verdict text
);

create type settled_report as (
    user_id uuid, order_id uuid, named_order_id uuid, symbol text, side text, buys boolean, verdict text, kind text,
    trades boolean, changes boolean, ends boolean, had_ended boolean, epoch bigint, recorded_at timestamptz,
    venue text, session text, trade_date date, exec_id text, venue_at timestamptz, venue_reason text,
    venue_order_id text,
    status text, new_status text,
    -- the execution
    qty bigint, px bigint, cost bigint, basis bigint, owed bigint, qty_change bigint, basis_change bigint,
    settles_on date,
    taken_exec_id text, taken_date date, stands_qty bigint, stands_px bigint,
    -- the order, the user and the position after the report, and by how much they change
    new_cum_qty bigint, new_cost_exact numeric, new_cost bigint, new_held_cash bigint, new_held_shares bigint,
    held_cash_change bigint, held_shares_change bigint, cash_change bigint, position_change bigint,
    position_qty bigint, position_held bigint,
    new_write_seq bigint, new_event_seq integer, new_stream_seq bigint, last_stream_seq bigint,
    -- the report's entry, if it posts
    posts boolean, new_entry_seq bigint, entry_id uuid, entry_kind text, previous_hash bytea, hash bytea,
    accounts text[], units text[], directions text[], amounts bigint[],
    -- the replacement, and its entry, if it holds
    new_id uuid, new_order_event_seq integer, new_order_qty bigint, new_order_status text,
    holds boolean, new_hold bigint, account text, unit text, last_entry_seq bigint, last_hash bytea
);
