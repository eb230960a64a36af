-- Why: the auditor reads everything but secrets, by grants of its own; until now it had a role that reads every column of every
-- table (`pg_read_all_data`), which whoever sets up the server takes away. Secrets: the keyed hash of an email (with the key it
-- says who has an account where) and the fingerprint of a sign-up. A table that comes later is granted by its own migration.
-- Locks: none but a moment on each table. Undo: revoke what is granted here.

grant usage on schema control, migrations to control_auditor;
grant select on control.lineage, control.epochs, control.cells, control.buckets, control.pins, control.cell_loads,
    control.revocations to control_auditor;
grant select (user_id, cell_id, state, claimed_at, activated_at) on control.email_claims to control_auditor;
grant select on all tables in schema migrations to control_auditor;
