-- Why: what was recorded before the chain becomes its first rows, in the same order and with its times, and what an
-- older release still records while a rollout goes on enters the chain at once. Nothing is taken from
-- `privileged_acts`; a later release drops it, with this trigger, when no older one is left.
-- Lock: `privileged_acts` against writers while its rows are copied (one per act of an operator: thousands, a second).
-- Undo: drop the trigger, function control.carry_act and table control.acts_in_audit.

-- Which row of the chain an act of the old table is.
create table control.acts_in_audit (
    entry_id bigint primary key,
    number bigint not null unique
);

create function control.carry_act() returns trigger language plpgsql set search_path = control, pg_temp as $$
declare
    is_attempt constant boolean := new.completes is null;
    made bigint;
begin
    insert into audit (at, ends, subject, role, way, act, target, arguments, reason, outcome, detail)
    values (new.at, (select number from acts_in_audit where entry_id = new.completes), new.actor,
        case when is_attempt then 'unknown' end, case when is_attempt then 'privileged_acts' end,
        new.act, new.target, new.arguments::json, new.reason, new.outcome, new.detail)
    returning number into made;
    insert into acts_in_audit (entry_id, number) values (new.entry_id, made);
    return null;
end $$;
create trigger carry after insert on control.privileged_acts for each row execute function control.carry_act();

create temporary table carried on commit drop as select * from control.privileged_acts with no data;
create trigger carry after insert on carried for each row execute function control.carry_act();
insert into carried select * from control.privileged_acts order by entry_id;

grant select on control.acts_in_audit to control_auditor;
