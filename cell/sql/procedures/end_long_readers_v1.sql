-- End the auditor's sessions whose transaction is open for longer than that, whatever limits they gave themselves:
-- vacuum waits for such a snapshot, a migration for its tables, and every order behind the migration. By the database's
-- own clock, which is what transactions begin by.
create or replace function end_long_readers_v1(p_longer_than interval) returns bigint
language sql security definer
set search_path from current
as $$
    select count(*) filter (where pg_terminate_backend(a.pid))
      from pg_stat_activity a
     where a.usename = 'cell_auditor' and a.datname = current_database()
       and a.xact_start < clock_timestamp() - p_longer_than
$$;
