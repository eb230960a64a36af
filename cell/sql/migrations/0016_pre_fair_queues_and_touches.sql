-- Unsent instructions are found by user, so that a claim takes them round-robin; and what a stop needs so that no price that
-- touches it is missed: the venue's number of every price, and the touches that are not acted upon yet.
-- Lock: `venue_instructions`, `symbols` and `armed_stops` exclusively for a moment: a small index, columns with constant
-- defaults. Undo: the index of 0001; drop the tables and the columns; put the old functions back.

set local search_path = brokerage;
set local lock_timeout = '10s';

-- Instead of the one by id, not beside it: an order pays for one entry, as before. Only what is unsent is in it.
drop index venue_instructions_unsent;
create index venue_instructions_unsent on venue_instructions (user_id, id) where sent_at is null;

-- The venue numbers its prices; a later one has a higher number, in every cell the same.
alter table symbols add column price_number bigint not null default 0;   -- of reference_px_micros; 0: none known

-- Prices with a higher number than this trigger the stop; those up to it were judged when it was placed.
alter table armed_stops add column mark bigint not null default 0;

-- Prices that were written down and may still touch a stop which nobody could see when they were judged: one row per write.
-- `looked_by` is the transaction that judged them first. A row goes when it was judged after every transaction before that
-- one had ended: see judge_stops_v1.
create table told_prices (
    id        bigint generated always as identity primary key,
    told_at   timestamptz not null,
    symbols   text[] not null,
    prices    bigint[] not null,
    numbers   bigint[] not null,
    looked_by xid8
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

-- Stops that a price has touched and that are not on their way yet: a fact about the market, written without the user's
-- lock, so it is kept while another writer has the user, or he is halted, or the symbol is. Whoever moves a user takes it along.
create table reached_stops (
    user_id   uuid not null,
    order_id  uuid not null,
    number    bigint not null,                     -- of the price that touched it
    px_micros bigint not null,
    primary key (user_id, order_id)
);

-- They take or return more now; two overloads of one name would be ambiguous. What the last release calls, the new ones answer.
drop function if exists release_queued_v1(integer, timestamptz, text);
drop function if exists set_reference_prices_v1(text[], bigint[], timestamptz);
-- Of no release, but of databases that were made in between.
drop function if exists claim_instructions_v1(integer);
drop function if exists replace_orders_v1(
    uuid[], text[], bytea[], uuid[], integer[], bigint[], bigint[], bigint[], text[], timestamptz, boolean, text, text[]);
