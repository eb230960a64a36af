-- Users move between cells: who left and to where, who is arriving, and a role of its own for what carries them.
-- `cell_mover` reads and writes the rows that travel; who owns a user is decided by procedures, which only it may call.
-- What a release calls "travels" is its list (cell/move/tables.py); a test compares it with these rights.
-- Lock: none that matters, both tables are new. Undo: drop both tables; drop owned by cell_mover.

set local search_path = brokerage;

-- One row per departure that was begun; once it has happened it is kept for ever: whoever was sent away is never taken
-- back without a newer certificate.
create table departures (
    user_id         uuid not null,
    ownership_epoch bigint not null,               -- from which the next cell owns the user
    move_id         uuid not null,
    to_cell         text not null,
    began_at        timestamptz not null,
    departed_at     timestamptz,                   -- null: the user trades here
    certificate     text,                          -- signed by this cell; it leaves only by being read after the commit
    orders_published bigint,                       -- up to here this cell has published each stream; the rest travelled
    ledger_published bigint,
    activated_at    timestamptz,                   -- the next cell has acknowledged it
    pinned_at       timestamptz,                   -- the control service has
    primary key (user_id, ownership_epoch),
    check (num_nulls(departed_at, certificate) <> 1)
);
create index departures_to_deliver on departures (departed_at)
    where departed_at is not null and (activated_at is null or pinned_at is null);

-- One row per arrival. What must not be seen by a relay, a worker or a sweep before the user is active waits in `work`.
create table arrivals (
    user_id              uuid not null,
    ownership_epoch      bigint not null,
    move_id              uuid not null,
    from_cell            text not null,
    began_at             timestamptz not null,
    work                 jsonb,                    -- rows by table, as they stood at the halt; null: not halted yet
    certificate          text,                     -- with it the user became active here
    activated_at         timestamptz,
    orders_published     bigint,                   -- up to here other cells have published each stream
    ledger_published     bigint,
    former_epoch         bigint,                   -- a return: the tombstone that an aborted one puts back
    former_forward_cell  text,
    former_forward_epoch bigint,
    primary key (user_id, ownership_epoch)
);

-- The newest request of each move that this cell has met: one that was sent before it and comes after it does nothing.
create table move_requests (
    move_id uuid primary key,
    lease   bigint not null,                       -- of the leader who sent it
    number  bigint not null,                       -- counts up in that leader's process
    met_at  timestamptz not null
);

revoke all on departures, arrivals, move_requests from cell_service;
grant select (user_id, ownership_epoch, move_id, to_cell, began_at, departed_at, orders_published, ledger_published,
              activated_at, pinned_at) on departures to cell_service;

grant usage on schema brokerage, archive to cell_mover;
grant select on all tables in schema brokerage, archive to cell_mover;
alter default privileges in schema brokerage grant select on tables to cell_mover;
alter default privileges in schema archive grant select on tables to cell_mover;
revoke all on leadership_terms, rehearsal from cell_mover;
grant insert, update, delete on
    customers, refresh_families, login_sources, orders, order_events, idempotency_keys, journal_entries, postings,
    positions, deposits, share_transfers, unsettled_lots, executions, lifted_restrictions,
    archive.order_events, archive.executions, archive.journal_entries, archive.postings
    to cell_mover;
