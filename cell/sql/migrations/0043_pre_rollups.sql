-- What happened in each minute of this cell, counted by the relay when an event is published and forgotten: never on
-- the path of an order, never from a row that users' transactions share.
-- Lock: none, the tables are new. Undo: drop both tables, and put the former `delete_outbox_v1` back.

set local search_path = brokerage;

-- A minute is that of its events' own time, so a relay that was behind adds to minutes that are long over.
create table rollups (
    minute          timestamptz primary key,             -- when it began
    orders          bigint not null default 0,           -- accepted, replacements included
    fills           bigint not null default 0,           -- late ones included, and those taken back later
    rejects         bigint not null default 0,           -- by the venue
    taken_back      bigint not null default 0,           -- busts and corrections; their fills stay counted
    volume_exact    numeric not null default 0,          -- of the fills: sum of last_qty x last_px, in 1e-12 dollars
    cash_in_micros  bigint not null default 0,           -- from customers' banks
    cash_out_micros bigint not null default 0,
    is_folded       boolean not null default false       -- only its busiest symbols are kept apart
) with (fillfactor = 50);                                -- a busy minute is updated twenty times a second
create index rollups_to_fold on rollups (minute) where not is_folded;

-- The same by symbol. Symbol '*': those of a folded minute that were not among its busiest, together; so the sum over
-- a minute's symbols is always that of its row in `rollups`.
create table symbol_rollups (
    minute       timestamptz not null,
    symbol       text not null,
    orders       bigint not null,
    fills        bigint not null,
    rejects      bigint not null,
    taken_back   bigint not null,
    qty_micros   numeric not null,                       -- of the fills
    volume_exact numeric not null,
    primary key (minute, symbol)
) with (fillfactor = 50);
