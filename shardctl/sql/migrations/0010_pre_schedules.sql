-- Why: what is done every night is begun by the control service, once, also if it was away at that time.
-- Lock: none, the table is new. Undo: drop table control.schedules.

-- What a schedule does stands in the release (`shardctl/service/schedules.py`); here is when it is due next.
create table control.schedules (
    name text primary key check (name ~ '^[a-z_]{1,50}$'),
    due_at timestamptz not null,
    begun_at timestamptz,                       -- when its last operation was asked for
    operation_id bigint                         -- that operation, which may be pruned already
);
grant select on control.schedules to control_leader, control_auditor;
