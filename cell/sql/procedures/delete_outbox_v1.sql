-- Forget outbox rows that Kafka has acknowledged. Repeating it is harmless. Result: rows deleted.
create or replace function brokerage.delete_outbox_v1(p_ids bigint[]) returns bigint
language sql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off
as $$
    with gone as (delete from outbox where id = any (p_ids) returning 1) select count(*) from gone
$$;
