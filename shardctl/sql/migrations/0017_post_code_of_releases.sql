-- Why: from here on `control` holds tables only, and an unqualified name that is no release's code is an error. What
-- releases before code schemas called goes. Never by cascade: what somebody built on it by hand stops this file.
-- Lock: the routines, each for a moment; nobody uses them any more. Undo: `migrate` of the release before this creates
-- its routines again.

do $$
declare
    -- all in one statement: some call each other; a trigger function belongs to its table
    routines constant text := (
        select string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
         where p.pronamespace = 'control'::regnamespace and p.prorettype <> 'trigger'::regtype);
begin
    if routines is not null then
        execute 'drop function ' || routines;
    end if;
end $$;
-- which texts were in force, when each routine was replaced where it stood
drop table if exists migrations.procedures;
