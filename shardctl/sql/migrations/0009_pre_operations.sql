-- Why: work of several steps (a further cell, new keys, a rolling restart) has one executor, which may be killed
-- anywhere and goes on by itself; its lease has a number, and a former holder's writes are refused by it. Lock: none,
-- everything is new. Undo: drop table control.operation_events, control.operation_steps, control.operations,
-- control.leadership.

-- One row for ever: the number only rises, also from one expiry to the next holder.
create table control.leadership (
    only_row boolean primary key default true check (only_row),
    number bigint not null default 0 check (number >= 0),
    holder text not null default '' check (length(holder) <= 200),
    expires_at timestamptz not null default '-infinity'
);
insert into control.leadership default values;

create table control.operations (
    operation_id bigint generated always as identity primary key,
    kind text not null check (kind ~ '^[a-z]+\.[a-z_]+$'),
    version integer not null check (version > 0),
    arguments jsonb not null,                              -- never a secret
    target text not null check (length(target) between 1 and 200),
    cells text[] collate "C" not null,                     -- what it works on, for the conflict matrix
    users uuid[] not null,
    calls text[] collate "C" not null,                     -- cells that its steps call; they learn who leads
    state text not null check (state in ('awaiting_approval', 'pending', 'running', 'cancelling', 'succeeded', 'failed',
        'refused', 'cancelled')),
    state_hash text not null check (state_hash ~ '^[0-9a-f]{64}$'),   -- of what the planner saw
    actor text not null check (length(actor) between 1 and 200),
    reason text check (length(reason) between 1 and 2000),
    idempotency_key text not null unique check (length(idempotency_key) between 1 and 128),
    act text check (act ~ '^[a-z_]{1,50}$'),               -- name in the record of acts; null: recorded in a cell
    act_id bigint,
    approved_by text,
    cancel_asked_by text,
    lease_number bigint,                                   -- under which it was last worked on
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    exit_code smallint check (exit_code between 0 and 9),
    detail text check (length(detail) <= 2000),
    check ((state in ('succeeded', 'failed', 'refused', 'cancelled'))
        = (exit_code is not null and ended_at is not null))
);
create index operations_active on control.operations (operation_id)
    where state in ('awaiting_approval', 'pending', 'running', 'cancelling');

create table control.operation_steps (
    operation_id bigint not null references control.operations on delete cascade,
    position integer not null check (position between 1 and 10000),
    key text not null check (length(key) between 1 and 200),
    action text not null,
    arguments jsonb not null,
    attempts_max integer not null check (attempts_max between 1 and 100),
    timeout_s real not null check (timeout_s > 0),
    is_irrevocable boolean not null,                       -- once it has begun, the operation is not cancelled any more
    state text not null default 'pending'
        check (state in ('pending', 'running', 'done', 'failed', 'undoing', 'undone')),
    attempts integer not null default 0,
    intent jsonb,                                          -- decided once, before the first attempt
    progress jsonb,                                        -- where the next attempt goes on
    result jsonb,
    detail text check (length(detail) <= 2000),
    begun_at timestamptz,
    ended_at timestamptz,
    primary key (operation_id, position),
    unique (operation_id, key)
);

-- What happened, in order, for those who watch and for those who ask later.
create table control.operation_events (
    event_id bigint generated always as identity primary key,
    operation_id bigint not null references control.operations on delete cascade,
    at timestamptz not null,
    event text not null,
    step text,
    detail text check (length(detail) <= 2000)
);
create index operation_events_of on control.operation_events (operation_id, event_id);

grant usage on schema control to control_leader;
grant select on control.leadership, control.operations, control.operation_steps, control.operation_events
    to control_leader;
grant select on control.lineage, control.epochs, control.cells, control.buckets, control.pins, control.cell_loads,
    control.privileged_acts to control_leader;
grant select on control.leadership, control.operations, control.operation_steps, control.operation_events
    to control_auditor;
