-- Why: from here on `brokerage` holds tables, types, the trigger function and the two views that are locks (0022),
-- and an unqualified name that is no release's code is an error. What releases before code schemas called goes. Never
-- by cascade: what somebody built on it by hand stops this file.
-- Lock: the views and routines, each for a moment; nobody uses them any more. Undo: `migrate` of the release before
-- this creates its routines again; the views are those of 0005 and 0014.

drop view if exists brokerage.order_history, brokerage.all_order_events, brokerage.all_executions,
    brokerage.all_journal_entries, brokerage.all_postings;
do $$
declare
    -- all in one statement: some call each other; a trigger function belongs to its table
    routines constant text := (
        select string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
         where p.pronamespace = 'brokerage'::regnamespace and p.prorettype <> 'trigger'::regtype);
begin
    if routines is not null then
        execute 'drop function ' || routines;
    end if;
end $$;
alter default privileges in schema brokerage revoke execute on functions from cell_service;
-- which texts were in force, when each routine was replaced where it stood
drop table if exists migrations.procedures;
