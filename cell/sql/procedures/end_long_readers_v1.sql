-- End the sessions of the auditor whose transaction is open for more than ten minutes, whatever limits he gave himself: vacuum
-- waits for his snapshot, a migration for his tables, and every order behind the migration.
-- Result: how many were ended. Needs that the owner is a member of the auditor's role; elsewhere it ends nobody. Lock: none.
create or replace function brokerage.end_long_readers_v1() returns bigint
language sql security definer
set search_path = brokerage, pg_temp
as $$
    select count(*) filter (where pg_terminate_backend(a.pid))
      from pg_stat_activity a
     where a.usename = 'cell_auditor' and a.datname = current_database()
       and a.xact_start < clock_v1() - interval '10 minutes'
$$;
