-- Replacing an order, and trades that the venue takes back or corrects.
-- Lock: `orders`, `order_events`, `executions`, `journal_entries` and `venue_instructions` exclusively for a moment: columns
-- without a value, and checks that every row already meets. Undo: drop the columns, put the old checks and transitions back.

set local search_path = brokerage;

-- A replacement is `pending_replace` itself until the venue confirms, as the order that it replaces is. It begins with
-- nothing filled: order_qty_micros is what is left to trade, and until the confirmation an estimate.
alter table orders add column replace_qty_micros bigint check (replace_qty_micros > 0);
comment on column orders.replace_qty_micros is
    'a replacement: the quantity asked for, counted as the replaced order''s (its fills included); this is what the venue is told';
-- What the event said of the quantity, where the order's own may become another one: a replacement that is pending.
alter table order_events add column order_qty_micros bigint;

-- A bust or a correction is an execution row of its own that names the one it takes back; rows are never edited.
-- Amounts of a row: last_qty and last_px as the venue told them (a bust: those of the fill it takes back); cost_micros is
-- what was posted for the row, negative for what came back; basis_micros is the cost basis of the trade as it now stands.
alter table executions
    add column kind text not null default 'fill' check (kind in ('fill', 'bust', 'correct')),
    add column ref_exec_id text,
    add column ref_trade_date date,
    add column qty_change_micros bigint,           -- of the order's filled quantity; null: a fill, last_qty_micros
    add column basis_change_micros bigint,         -- of the position's cost basis; null: a fill, basis_micros with its side's sign
    add column settles_on date,                    -- sales: the lot of unsettled proceeds
    add constraint executions_ref check ((kind = 'fill') = (ref_exec_id is null));

alter table journal_entries drop constraint journal_entries_kind_check;
alter table journal_entries add constraint journal_entries_kind_check
    check (kind in ('deposit', 'share_transfer', 'hold', 'fill', 'release', 'replace', 'bust', 'correct'));

alter table venue_instructions drop constraint venue_instructions_action_check;
alter table venue_instructions add constraint venue_instructions_action_check
    check (action in ('submit', 'cancel', 'replace', 'expire'));

insert into order_transitions (from_status, to_status) values
    ('validated', 'pending_replace'),
    -- a bust: what is taken back is open again while the order is, and missing for ever once it has ended
    ('partially_filled', 'routed'), ('filled', 'filled'), ('filled', 'cancelled');

-- It returns more columns now.
drop function if exists claim_instructions_v1(integer, timestamptz);
