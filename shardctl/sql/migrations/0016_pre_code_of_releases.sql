-- Why: a release's routines lie in a schema of their own (`code_...`), which the migrator installs and records in
-- `migrations.code`. A process may ask there whether its release's code is installed, and an auditor which releases
-- there are.
-- Lock: none but a moment on that new table. Undo: revoke what is granted here.

grant usage on schema migrations to control_service;
grant select on migrations.code to control_service, control_auditor;
