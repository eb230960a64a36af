-- Why: a release's routines and views lie in a schema of their own (`code_...`), which the migrator installs and
-- records in `migrations.code`. A process asks there whether its release's code is installed, and an auditor which
-- releases there are.
-- Lock: none but a moment on that new table. Undo: revoke what is granted here.

grant usage on schema migrations to cell_service;
grant select on migrations.code to cell_service, cell_auditor;
