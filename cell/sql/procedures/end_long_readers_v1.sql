-- End the auditor's sessions whose transaction is open for more than ten minutes, whatever limits they gave themselves:
-- vacuum waits for such a snapshot, a migration for its tables, and every order behind the migration. Ten minutes:
-- twice the limit of a statement (AUDITOR_STATEMENT_S), so that only one who lifted it is ended.
create or replace function brokerage.end_long_readers_v1() returns bigint
language sql security definer
set search_path = brokerage, pg_temp
as $$
    select count(*) filter (where pg_terminate_backend(a.pid))
      from pg_stat_activity a
     where a.usename = 'cell_auditor' and a.datname = current_database()
       and a.xact_start < clock_v1() - interval '10 minutes'
$$;
