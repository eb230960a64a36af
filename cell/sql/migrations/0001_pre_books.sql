-- The books of one cell: customers, orders, ledger, positions, and the queues between them and the world.
-- Lock: none that matters, everything is new. Undo: drop schema brokerage cascade.
--
-- Rules that hold for every table here:
--   * money is micro-dollars, quantities are micro-shares (six decimals), both bigint; products are numeric
--   * every unique key starts with user_id, and no foreign key points at a row that users share: a user moves whole
--   * a write locks the user's row in `users` first (users in order of id), then touches the rest
--   * the service role may SELECT and may EXECUTE procedures; nobody updates or deletes entries and postings
-- Columns that moving a user needs (epoch, halt_id, lease, write_seq, forward hint, tombstone) are here from the start.

create schema brokerage;
grant usage on schema brokerage to cell_service, cell_auditor;
alter default privileges revoke execute on functions from public;
alter default privileges in schema brokerage grant execute on functions to cell_service;
alter default privileges in schema brokerage grant select on tables to cell_service, cell_auditor;

set local search_path = brokerage;

-- One row per user: the fence, the buying-power serialisation, the heads of all per-user sequences.
create table users (
    user_id          uuid primary key,
    owner_state      text not null check (owner_state in ('arriving', 'active', 'halted', 'departed')),
    epoch            bigint not null,              -- map epoch at which this cell became the owner
    operation_id     uuid,                         -- the move that brings or takes the user
    halt_id          uuid,                         -- who halted the writes ...
    lease_ends_at    timestamptz,                  -- ... and until when; an ended lease is no halt
    forward_cell     text,                         -- departed: a hint where to; never followed blindly
    forward_epoch    bigint,
    purged_at        timestamptz,                  -- departed and purged: this row stays as the tombstone
    profile          text not null check (profile in ('retail', 'professional')),
    restricted       boolean not null default false,
    cash_micros      bigint not null default 0,    -- account `cash`: free to spend; only the world's reports may make it negative
    cash_held_micros bigint not null default 0 check (cash_held_micros >= 0),   -- account `cash_held`
    write_seq        bigint not null default 0,    -- grows with every write to this user
    entry_seq        bigint not null default 0,    -- head of journal_entries.seq and of the stream `ledger`
    order_event_seq  bigint not null default 0,    -- head of order_events.stream_seq and of the stream `orders`
    chain_head       bytea not null default decode(repeat('00', 32), 'hex') check (octet_length(chain_head) = 32),
    created_at       timestamptz not null
) with (fillfactor = 50);

-- Personal data stays in the cell.
create table customers (
    user_id       uuid primary key,
    email         text not null,
    name          text,
    password_hash text not null,
    created_at    timestamptz not null
);

-- A login starts a family; each refresh replaces the current token's hash. Showing an older token ends the family.
create table refresh_families (
    user_id      uuid not null,
    family_id    uuid not null,
    current_hash bytea not null,
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    ended_at     timestamptz,
    primary key (user_id, family_id)
);

-- What the market says, one row per symbol; written by the worker, read without locks.
create table symbols (
    symbol             text primary key,
    tradable           boolean not null default true,
    halted             boolean not null default false,
    reference_px_micros bigint check (reference_px_micros > 0),
    reference_at       timestamptz
) with (fillfactor = 50);

create table orders (
    user_id           uuid not null,
    order_id          uuid not null,               -- version 7, so it sorts by creation; ClOrdID at the venue
    client_order_id   text,
    symbol            text not null,
    side              text not null check (side in ('buy', 'sell')),
    type              text not null check (type in ('market', 'limit', 'stop', 'stop_limit')),
    time_in_force     text not null check (time_in_force in ('day', 'gtc', 'ioc', 'fok')),
    order_qty_micros  bigint check (order_qty_micros > 0),
    notional_micros   bigint check (notional_micros > 0),
    limit_px_micros   bigint check (limit_px_micros > 0),
    stop_px_micros    bigint check (stop_px_micros > 0),
    hold_px_micros    bigint check (hold_px_micros > 0),      -- buys: limit, or the collar of a market order
    status            text not null,
    cum_qty_micros    bigint not null default 0 check (cum_qty_micros >= 0),
    cum_cost_exact    numeric not null default 0,             -- sum of last_qty x last_px, in 1e-12 dollars, exact
    cum_cost_micros   bigint not null default 0,              -- what was posted: round-half-even(cum_cost_exact / 1e6)
    held_cash_micros  bigint not null default 0 check (held_cash_micros >= 0),
    held_shares_micros bigint not null default 0 check (held_shares_micros >= 0),
    reject_reason     text,
    replaces          uuid,
    replaced_by       uuid,
    venue_order_id    text,
    event_seq         integer not null,            -- head of order_events.seq; also the ETag
    write_seq         bigint not null,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    primary key (user_id, order_id),
    check (num_nonnulls(order_qty_micros, notional_micros) = 1)
) with (fillfactor = 60);
create unique index orders_client_order_id on orders (user_id, client_order_id) where client_order_id is not null;
create index orders_order_id on orders (order_id);   -- a report names the order, not the user

-- Which status may follow which. `cell/orders/status.py` holds the same table; a test compares them.
create table order_transitions (
    from_status text not null,
    to_status   text not null,
    primary key (from_status, to_status)
);
insert into order_transitions (from_status, to_status) values
    ('pending', 'validated'), ('pending', 'failed'),
    ('validated', 'funds_held'), ('validated', 'queued'), ('validated', 'armed'), ('validated', 'failed'),
    ('queued', 'funds_held'), ('queued', 'cancelled'), ('queued', 'expired'), ('queued', 'replaced'),
    ('armed', 'funds_held'), ('armed', 'cancelled'), ('armed', 'expired'), ('armed', 'replaced'),
    ('funds_held', 'routed'), ('funds_held', 'cancelled'), ('funds_held', 'expired'), ('funds_held', 'failed'), ('funds_held', 'replaced'),
    ('routed', 'partially_filled'), ('routed', 'filled'), ('routed', 'rejected'), ('routed', 'cancelled'), ('routed', 'expired'),
    ('routed', 'pending_cancel'), ('routed', 'pending_replace'), ('routed', 'failed'),
    ('partially_filled', 'partially_filled'), ('partially_filled', 'filled'), ('partially_filled', 'cancelled'),
    ('partially_filled', 'expired'), ('partially_filled', 'pending_cancel'), ('partially_filled', 'pending_replace'),
    ('pending_cancel', 'pending_cancel'), ('pending_cancel', 'filled'), ('pending_cancel', 'cancelled'), ('pending_cancel', 'expired'),
    ('pending_cancel', 'rejected'), ('pending_cancel', 'routed'), ('pending_cancel', 'partially_filled'),
    ('pending_replace', 'pending_replace'), ('pending_replace', 'filled'), ('pending_replace', 'replaced'), ('pending_replace', 'cancelled'),
    ('pending_replace', 'expired'), ('pending_replace', 'rejected'), ('pending_replace', 'routed'), ('pending_replace', 'partially_filled'),
    -- the world may still report a fill after an end: money follows the venue
    ('cancelled', 'cancelled'), ('cancelled', 'filled'), ('expired', 'expired'), ('expired', 'filled'),
    ('rejected', 'rejected'), ('rejected', 'filled'), ('replaced', 'replaced'), ('replaced', 'filled');

-- Append-only. An accepted order's first stored row has seq 3 and from `validated`: that a command passed through
-- `pending` and `validated` is known from it (all three at one instant), and the view `order_history` says it in rows.
create table order_events (
    user_id         uuid not null,
    order_id        uuid not null,
    seq             integer not null,
    stream_seq      bigint not null,               -- gap-free per user; published as stream `orders`
    from_status     text not null,
    to_status       text not null,
    reason          text,
    at              timestamptz not null,
    exec_id         text,                          -- the fill behind it, if one is
    last_qty_micros bigint,
    last_px_micros  bigint,
    cum_qty_micros  bigint not null,
    cum_cost_micros bigint not null,
    primary key (user_id, order_id, seq)
);
create view order_history as
    select user_id, order_id, seq, from_status, to_status, reason, at from order_events
    union all
    select e.user_id, e.order_id, v.seq, v.from_status, v.to_status, null, e.at
      from order_events e
      cross join (values (1, null, 'pending'), (2, 'pending', 'validated')) as v (seq, from_status, to_status)
     where e.seq = 3;

-- (user, key) -> what was answered. Kept at least seven days, pruned in small steps.
create table idempotency_keys (
    user_id     uuid not null,
    key         text not null,
    fingerprint bytea not null,                    -- of method, path and the normalised command
    outcome     text not null,                     -- `accepted` or a refusal's code
    resource_id uuid,
    figures     jsonb,
    at          timestamptz not null,
    primary key (user_id, key)
);
create index idempotency_keys_at on idempotency_keys using brin (at);

-- Double entry. Customer accounts are liabilities: `cash`, `cash_held` (unit USD), `shares`, `shares_held` (unit = symbol)
-- grow by credit. Their other sides are keyed by the same user: `bank`, `clearing`, `transfer_agent`, `fees`.
--
-- Hash chain: hash = sha256(previous_hash || canonical), canonical in UTF-8, format 1:
--   1|user_id|seq|entry_id|kind|order_id or -|occurred_at as whole microseconds since 1970|line,account,unit,direction,amount;...
-- with lines in order and ';' between them. The first entry's previous_hash is 32 zero bytes; users.chain_head is the last hash.
create table journal_entries (
    user_id       uuid not null,
    seq           bigint not null,                 -- 1, 2, 3 ... per user; published as stream `ledger`
    entry_id      uuid not null,                   -- derived from what caused it, so reprocessing finds it present
    kind          text not null check (kind in ('deposit', 'share_transfer', 'hold', 'fill', 'release')),
    order_id      uuid,
    occurred_at   timestamptz not null,
    previous_hash bytea not null,
    hash          bytea not null,
    primary key (user_id, seq)
);
create unique index journal_entries_entry_id on journal_entries (user_id, entry_id);

create table postings (
    user_id       uuid not null,
    entry_seq     bigint not null,
    line          smallint not null,
    account       text not null check (account in ('cash', 'cash_held', 'shares', 'shares_held', 'bank', 'clearing', 'transfer_agent', 'fees')),
    unit          text not null,                   -- USD or a symbol
    direction     text not null check (direction in ('debit', 'credit')),
    amount_micros bigint not null check (amount_micros > 0),
    primary key (user_id, entry_seq, line)
);

-- Debits = credits per entry and unit, checked for every statement that writes postings. It only checks.
create function check_postings_balance() returns trigger language plpgsql
set search_path = brokerage, pg_temp as $$
begin
    if exists (
        select from written group by user_id, entry_seq, unit
        having sum(case direction when 'debit' then amount_micros::numeric else -amount_micros::numeric end) <> 0
    ) then
        raise exception 'debits and credits of an entry differ' using errcode = 'RB900';
    end if;
    return null;
end $$;
create trigger postings_balance after insert on postings
    referencing new table as written for each statement execute function check_postings_balance();

-- qty_micros is everything the user has of the symbol: accounts `shares` (= qty - held) and `shares_held`.
create table positions (
    user_id           uuid not null,
    symbol            text not null,
    qty_micros        bigint not null default 0,
    qty_held_micros   bigint not null default 0 check (qty_held_micros >= 0),
    cost_basis_micros bigint not null default 0,   -- a total; the average is derived
    primary key (user_id, symbol)
) with (fillfactor = 60);

create table deposits (
    user_id       uuid not null,
    deposit_id    uuid not null,
    amount_micros bigint not null check (amount_micros > 0),
    status        text not null check (status in ('settled')),
    at            timestamptz not null,
    primary key (user_id, deposit_id)
);

create table share_transfers (
    user_id           uuid not null,
    transfer_id       uuid not null,
    symbol            text not null,
    qty_micros        bigint not null check (qty_micros > 0),
    unit_cost_micros  bigint not null check (unit_cost_micros >= 0),
    cost_basis_micros bigint not null check (cost_basis_micros >= 0),
    status            text not null check (status in ('pending', 'accepted')),
    at                timestamptz not null,
    primary key (user_id, transfer_id)
);

-- Sale proceeds by settlement date: in `cash` already, not yet withdrawable. Settlement day moves no money.
create table unsettled_lots (
    user_id       uuid not null,
    settles_on    date not null,
    amount_micros bigint not null,
    primary key (user_id, settles_on)
);

-- A fill, once per key; the same key with another fingerprint is quarantined.
create table executions (
    user_id           uuid not null,
    order_id          uuid not null,
    venue             text not null,
    session           text not null,
    trade_date        date not null,
    exec_id           text not null,
    fingerprint       bytea not null,
    symbol            text not null,
    side              text not null,
    last_qty_micros   bigint not null check (last_qty_micros > 0),
    last_px_micros    bigint not null check (last_px_micros > 0),
    cost_micros       bigint not null,             -- posted for this fill: buys pay it, sells receive it
    basis_micros      bigint not null,             -- cost basis added (buy) or removed (sell)
    entry_seq         bigint not null,
    at                timestamptz not null,        -- the venue's time
    primary key (user_id, order_id, venue, session, trade_date, exec_id)
);

-- What the worker must tell the venue. Kept until the venue's answer is applied, so a restart knows what to ask about.
create table venue_instructions (
    id         bigint generated always as identity primary key,
    user_id    uuid not null,
    order_id   uuid not null,
    action     text not null check (action in ('submit', 'cancel')),
    created_at timestamptz not null,
    sent_at    timestamptz,
    attempts   integer not null default 0
) with (fillfactor = 50);
create index venue_instructions_order on venue_instructions (user_id, order_id);
create index venue_instructions_unsent on venue_instructions (id) where sent_at is null;

-- How far each session's reports are committed; only the cell's one worker writes it.
create table venue_sessions (
    venue        text not null,
    session      text not null,
    received_seq bigint not null default 0,
    primary key (venue, session)
);

-- Reports committed but not yet applied; applying deletes the row in the same transaction.
create table inbox (
    id          bigint generated always as identity primary key,
    venue       text not null,
    session     text not null,
    venue_seq   bigint not null,
    user_id     uuid,                              -- null: the order is unknown here
    order_id    uuid,
    body        jsonb not null,
    received_at timestamptz not null
);
create index inbox_user on inbox (user_id, id);   -- the oldest unapplied report of a user goes first

create table quarantined_reports (
    id         bigint generated always as identity primary key,
    reason     text not null,
    user_id    uuid,
    order_id   uuid,
    venue      text not null,
    session    text not null,
    venue_seq  bigint not null,
    body       jsonb not null,
    at         timestamptz not null
);

-- One small row per write: a reference to the immutable event and entry it published. Deleted when Kafka has them.
create table outbox (
    id               bigint generated always as identity primary key,
    user_id          uuid not null,
    write_seq        bigint not null,
    epoch            bigint not null,
    order_id         uuid,
    order_event_seq  integer,                      -- order_events.seq; null: no order event in this write
    order_stream_seq bigint,                       -- order_events.stream_seq
    entry_seq        bigint,                       -- journal_entries.seq; null: no entry in this write
    occurred_at      timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
