-- Locks that only their owner can take, and an auditor who reads everything but secrets.
-- Lock: `customers`, `refresh_families` for the moment of a grant; everything else is new. Undo: drop the two views; grant
-- select on the tables named here to cell_auditor.

set local search_path = brokerage;
set local lock_timeout = '10s';

-- Who does a task of which there is one per cell holds the lock on its view (`take_leadership_v1`). Views, because there is
-- nothing in them: a lock that is held for months would keep vacuum from a table, and its oldest transaction with it.
create view leadership_of_worker as select 'worker' as task;
create view leadership_of_relay as select 'relay' as task;
revoke all on leadership_of_worker, leadership_of_relay from cell_service, cell_auditor;

-- The auditor had a role that reads every column of every table, however they are granted (`pg_read_all_data`); who sets up
-- the server takes it away. Here is what he reads instead. A table without secrets is his as a whole, also one that comes
-- later; of one with secrets, the columns that are named: a column that comes later is not his until somebody says so.
revoke select on customers, refresh_families from cell_auditor;
grant select (user_id, email, name, created_at) on customers to cell_auditor;
grant select (user_id, family_id, created_at, expires_at, ended_at) on refresh_families to cell_auditor;

-- What lies in the archive, and which migrations ran: no secrets.
grant usage on schema archive, migrations to cell_auditor;
grant select on all tables in schema archive to cell_auditor;
grant select on all tables in schema migrations to cell_auditor;
alter default privileges in schema archive grant select on tables to cell_auditor;
