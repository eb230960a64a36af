-- Why: a step of an operation carries the number of the lease under which it is executed, so that a leader of the
-- control plane that was paused changes nothing here after another took over. Lock: none, the table is new. Undo: drop
-- table brokerage.control_leader.

set local search_path = brokerage;

-- The highest number that this cell has met. Only `meet_leader_v1` writes it, and only upwards.
create table control_leader (
    only_row boolean primary key default true check (only_row),
    number   bigint not null default 0 check (number >= 0)
);
insert into control_leader default values;
