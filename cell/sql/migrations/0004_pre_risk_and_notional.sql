-- Risk checks by profile, the venue's own price bands, and orders by amount.
-- Lock: `users` and `symbols` exclusively for a moment (columns with constant defaults). Undo: drop the table, the columns and
-- the functions that use them; put the old functions back.

set local search_path = brokerage;

-- What the orders of a user are judged by; null: no such limit. Two rows in every cell, so a user who moves finds his own.
create table risk_profiles (
    profile                    text primary key,
    position_max_micros        bigint check (position_max_micros > 0),       -- worth of one symbol, open buys included
    orders_per_second_max      integer check (orders_per_second_max > 0),
    orders_per_minute_max      integer check (orders_per_minute_max > 0),
    value_per_minute_max_micros bigint check (value_per_minute_max_micros > 0),
    price_band_bps             integer not null check (price_band_bps > 0)   -- limit and stop prices around the reference
);
insert into risk_profiles values
    ('retail', 500000000000, 10, 60, 1000000000000, 1000),
    ('professional', null, null, null, null, 1000);

-- The accepted orders of the last minute, oldest first: when, and worth how much. Only kept for profiles with rate limits;
-- at most 60 of them (1 kB), on the row that the command writes anyway.
alter table users
    add column recent_order_ats timestamptz[] not null default '{}',
    add column recent_order_values bigint[] not null default '{}';

-- Prices that the venue itself admits for the symbol, however far from the reference: a recorded tape has its own.
alter table symbols
    add column venue_low_px_micros bigint check (venue_low_px_micros > 0),
    add column venue_high_px_micros bigint,
    add constraint symbols_venue_band check (venue_high_px_micros >= venue_low_px_micros);

-- Orders by amount have their columns since 0001; hold_px_micros of a sale by amount is the lowest price it may trade at.
-- The procedures take and return more now; two overloads of one name would be ambiguous.
drop function if exists place_orders_v1(
    uuid[], text[], bytea[], uuid[], text[], text[], text[], text[], text[], bigint[], bigint[], timestamptz, interval, boolean,
    bigint[], text);
drop function if exists claim_instructions_v1(integer, timestamptz);
