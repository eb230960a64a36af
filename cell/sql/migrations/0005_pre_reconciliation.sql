-- Every reconciliation of the books that was run, and what it found.
-- Lock: none that matters, the table is new. Undo: drop the table and its procedure.

set local search_path = brokerage;

-- Append-only by privilege: the service role may read, and writes through one procedure that only inserts.
create table reconciliations (
    run_id     uuid primary key,                   -- version 7, so it sorts by time
    started_at timestamptz not null,
    ended_at   timestamptz not null,
    as_of      timestamptz not null,               -- the one instant that checks and totals saw
    actor      text not null,
    verdict    text not null check (verdict in ('equal', 'different', 'incomplete')),
    checks     jsonb not null,                     -- [{name, violations, sample, duration_ms}]
    totals     jsonb not null,                     -- [{account, unit, debit_micros, credit_micros}]
    venue      jsonb not null,                     -- {asked, compared, differences, sample} or {asked: false, reason}
    events     jsonb not null,                     -- {asked, ..., missing} or {asked: false, reason}
    check (started_at <= ended_at)
);
