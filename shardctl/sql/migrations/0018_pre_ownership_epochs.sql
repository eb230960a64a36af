-- Why: a user who changes hands gets an ownership epoch, and a later owner always has the higher one. Its counter, one
-- per bucket and pin, and the last one of every user who was ever pinned, kept when the pin is gone. Until a release
-- writes snapshots with ownership epochs, the map's own epoch stands for them; so the counter stays above it.
-- Columns are filled by this release's routines. A release before this one leaves them as they are: what it pins has
-- none, and the map's epoch stands for it. The release that first writes snapshots of format 2 fills what is empty.
-- Lock: `pins` and `buckets` for a moment (columns without a value). Undo: drop the columns and the two tables.

create table control.ownership_counter (
    only_row boolean primary key default true check (only_row),
    last_epoch bigint not null check (last_epoch >= 0)
);
insert into control.ownership_counter (last_epoch) select coalesce(max(epoch), 0) from control.epochs;

alter table control.buckets add column ownership_epoch bigint check (ownership_epoch > 0);
alter table control.pins add column ownership_epoch bigint check (ownership_epoch > 0);
create table control.last_pins (
    user_id uuid primary key,
    ownership_epoch bigint not null check (ownership_epoch > 0)
);
grant select on control.ownership_counter, control.last_pins to control_auditor;
