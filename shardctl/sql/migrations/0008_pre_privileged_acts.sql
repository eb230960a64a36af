-- Why: keys, routers, cells and the map are changed by operators, and only some of these changes left who did it and why.
-- Lock: none, the table is new. Undo: drop table control.privileged_acts.

-- An act is two rows: the first is written before anything is done, the second (`completes` names the first) when it ended.
-- A first row without a second: the command still runs, was killed, or could not reach this database when it ended.
create table control.privileged_acts (
    entry_id  bigint generated always as identity primary key,
    completes bigint unique,
    at        timestamptz not null,
    actor     text check (length(actor) between 1 and 200),
    act       text check (act ~ '^[a-z_]{1,50}$'),
    target    text check (length(target) between 1 and 200),
    reason    text check (length(reason) between 1 and 2000),   -- null: the command does not require one
    arguments jsonb,                                            -- never a secret
    outcome   text check (outcome in ('done', 'refused', 'failed', 'interrupted')),
    detail    text check (length(detail) <= 2000),
    check (completes is null and num_nulls(actor, act, target, arguments) = 0 and num_nonnulls(outcome, detail) = 0
        or completes is not null and num_nonnulls(actor, act, target, reason, arguments) = 0 and outcome is not null)
);

-- Append-only by privilege, for the owner too (who is `shardctl`): a mistake cannot change what was recorded. `completes` is
-- no foreign key for this reason: its check locks the row, which needs the right to update it. The procedure checks it.
revoke update, delete, truncate on control.privileged_acts from control_owner;
grant select on control.privileged_acts to control_auditor;
