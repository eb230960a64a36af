-- Why: who may not be moved (a legal hold), and which moves there were, with their receipts, also when the operations
-- that made them are deleted. Lock: none of note, both tables are new. Undo: drop table control.held_users,
-- control.moves.

-- Who held and released whom before stands in the audit chain.
create table control.held_users (
    user_id uuid primary key,
    actor text not null check (length(actor) between 1 and 200),
    reason text not null check (length(reason) between 1 and 2000),
    held_at timestamptz not null
);

-- One row per user who was moved; never changed, never deleted.
create table control.moves (
    move_id uuid primary key,
    operation_id bigint not null,                          -- no reference: operations are deleted after a year
    user_id uuid not null,
    from_cell text collate "C" not null,
    to_cell text collate "C" not null,
    ownership_epoch bigint not null check (ownership_epoch > 0),
    actor text not null check (length(actor) between 1 and 200),
    reason text check (length(reason) between 1 and 2000),
    pause_us bigint check (pause_us >= 0),                 -- null: the attempt that halted the user died
    receipt text not null check (length(receipt) between 1 and 65536),
    recorded_at timestamptz not null,
    unique (user_id, ownership_epoch)
);
create index moves_by_operation on control.moves (operation_id);
create index moves_newest on control.moves (recorded_at);

revoke update, delete, truncate on control.moves from control_owner;
grant select on control.held_users, control.moves to control_leader, control_auditor;
