-- The database session that leads a task of this cell now, and the transaction in which it does (`take_leadership_v1`).
-- Result: no row, nobody leads. Lock: none.
create or replace function leading_session_v1(p_task text)
returns table (pid integer, virtual_transaction text)
language sql security definer
set search_path from current
as $$
    select l.pid, l.virtualtransaction
      from pg_locks l
     where l.relation = to_regclass('brokerage.leadership_of_' || p_task) and l.mode = 'ExclusiveLock' and l.granted
       and l.database = (select d.oid from pg_database d where d.datname = current_database())
$$;
