-- Why: the shard map's only truth (cells, buckets, pins, epochs with their history) and the email claims that lead from an
-- email to a cell before a cell is known.
-- Locks: none of note, everything is new. Undo: drop schema control cascade, on an empty stack only.

create schema control;
grant usage on schema control to control_service;

-- One stack, one lineage: a map of another lineage is refused by every router.
create table control.lineage (
    only_row boolean primary key default true check (only_row),
    lineage uuid not null,
    created_at timestamptz not null default clock_timestamp()
);

-- The history of the map. The newest row is the map's epoch; writers lock control.lineage to take turns.
create table control.epochs (
    epoch bigint primary key check (epoch > 0),
    actor text not null check (length(actor) between 1 and 200),
    reason text not null check (length(reason) between 1 and 2000),
    change jsonb not null,
    made_at timestamptz not null default clock_timestamp()
);

create table control.cells (
    cell_id text collate "C" primary key check (cell_id ~ '^[a-z][a-z0-9-]{0,30}$'),
    state text not null check (state in ('open', 'cordoned', 'draining', 'retired')),
    weight integer not null check (weight between 0 and 1000000),
    api_urls text[] not null,
    operator_urls text[] not null,
    epoch bigint not null references control.epochs
);

-- A bucket without a row is unassigned.
create table control.buckets (
    bucket integer primary key check (bucket between 0 and 65535),
    cell_id text collate "C" not null references control.cells,
    epoch bigint not null references control.epochs
);
create index buckets_by_cell on control.buckets (cell_id);

create table control.pins (
    user_id uuid primary key,
    cell_id text collate "C" not null references control.cells,
    epoch bigint not null references control.epochs
);

-- Users per cell by sign-up, for placement only; written in the transaction that makes a claim.
create table control.cell_loads (
    cell_id text collate "C" primary key references control.cells,
    users bigint not null default 0
);

-- A keyed hash leads to a user; the email itself lives in the cell. The claim is made before the user is created, so a
-- crash in between leaves a pending row that a retry resumes and the sweep finishes or frees.
create table control.email_claims (
    email_hash bytea primary key check (length(email_hash) = 32),
    user_id uuid not null unique,
    cell_id text collate "C" not null references control.cells,
    state text not null check (state in ('pending', 'active')),
    idempotency_key text not null unique check (length(idempotency_key) between 1 and 128),
    fingerprint bytea not null check (length(fingerprint) = 32),
    claimed_at timestamptz not null default clock_timestamp(),
    activated_at timestamptz
);
create index email_claims_pending on control.email_claims (claimed_at) where state = 'pending';

-- Routers read the map and use the claim procedures; nothing else is theirs.
grant select on control.lineage, control.epochs, control.cells, control.buckets, control.pins to control_service;
