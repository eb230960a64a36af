-- Two promises of the procedures that stood on the caller's word.
-- Lock: none, the tables are new. Undo: drop both tables.

set local search_path = brokerage;

-- Who leads a task, and a secret that only they were told (`start_term_v1`): the number of a session that leads is no
-- secret, and was enough to delete what the relay had not published.
create table leadership_terms (
    task                text primary key,
    leader_pid          integer not null,
    virtual_transaction text not null,   -- of the leadership's own transaction: the same session may lead again
    secret              uuid not null
);
revoke all on leadership_terms from cell_service, cell_auditor;
grant select (task, leader_pid, virtual_transaction) on leadership_terms to cell_auditor;

-- How far ahead of the database's clock a session may set its own where an age protects something from deletion: not at
-- all, but in a database whose owner says that it rehearses. A session's clock is the session's word.
create table rehearsal (
    is_only   boolean primary key default true check (is_only),
    ahead_max interval not null check (ahead_max >= '0')
);
revoke all on rehearsal from cell_service;
