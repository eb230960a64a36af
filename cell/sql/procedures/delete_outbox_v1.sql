-- Forget outbox rows that Kafka has acknowledged. Repeating it is harmless. Result: rows deleted.
--
-- The database cannot ask Kafka. What it knows it insists on: p_leader is the database session that leads the relay now, so
-- nobody else deletes; a row is among the oldest thousand, as far as a relay ever reads; and it goes only with all that its
-- user wrote before it, so that no event can be published before one that is lost.
-- SQLSTATE RB031: p_leader does not lead, or more rows than a relay reads at once. Lock: the rows.
create or replace function brokerage.delete_outbox_v1(p_ids bigint[], p_leader integer) returns bigint
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off
as $$
declare
    rows_max constant integer := 1000;
    deleted bigint;
begin
    if cardinality(p_ids) > rows_max or not exists (
        select from pg_locks l
         where l.relation = 'brokerage.leadership_of_relay'::regclass and l.mode = 'ExclusiveLock' and l.granted
           and l.pid = p_leader and l.database = (select d.oid from pg_database d where d.datname = current_database())
    ) then
        raise exception 'only the relay that leads may forget what was published' using errcode = 'RB031';
    end if;
    with oldest as (
        select o.id, o.user_id from outbox o order by o.id limit rows_max
    ),
    confirmed as (
        select w.id from (
            select o.id, bool_and(o.id = any (p_ids)) over (partition by o.user_id order by o.id) as is_whole from oldest o
        ) w where w.is_whole
    ),
    gone as (
        delete from outbox o using confirmed c where o.id = c.id returning 1
    )
    select count(*) into deleted from gone;
    return deleted;
end $$;
