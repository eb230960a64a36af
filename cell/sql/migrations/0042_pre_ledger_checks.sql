-- When the ledger checks last ran, and what they found: the age and the result that an alert asks for. Until now an
-- answer to whoever had asked, kept by nobody.
-- Lock: none, the table is new. Undo: drop the table.

set local search_path = brokerage;

create table ledger_checks (
    is_only    boolean primary key default true check (is_only),
    as_of      timestamptz not null,        -- the one instant that all checks saw
    checks     integer not null check (checks > 0),
    violations bigint not null check (violations >= 0),
    broken     text[] not null              -- the names of those that found something
);
