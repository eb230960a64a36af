-- Forget outbox rows that Kafka has acknowledged, and count what they told in the rollups: of exactly the rows that
-- this statement deleted, so a row is counted once, however often it is published or named here. p_counts: what the
-- named rows told, as the caller counted it; taken if just these were deleted. Otherwise, or without it, the deleted
-- ones are counted from the books. Repeating it is harmless. Result: rows deleted.
--
-- The database cannot ask Kafka. What it knows it insists on: p_secret is that of the relay which leads now
-- (`start_term_v1`), so nobody else deletes; no more rows than a relay reads at once; and a row goes only with all that
-- its user wrote before it, so that no event can be published before one that is lost.
-- SQLSTATE RB031: another secret, its leader leads no more, or more rows than a relay reads at once.
-- Lock: the rows, then the rollups'.
create or replace function delete_outbox_v1(
    p_ids bigint[], p_secret uuid, p_counts jsonb default null
) returns bigint
language plpgsql security definer
set search_path from current
-- a thousand rows beside a thousand, also in a session that refuses it
set enable_seqscan = off set enable_hashjoin = on
as $$
declare
    rows_max constant integer := 1000;
    deleted bigint;
    user_ids uuid[];
    order_ids uuid[];
    order_event_seqs integer[];
    entry_seqs bigint[];
begin
    if cardinality(p_ids) > rows_max or not exists (
        select from leadership_terms t
          join leading_session_v1('relay') l on (l.pid, l.virtual_transaction) = (t.leader_pid, t.virtual_transaction)
         where t.task = 'relay' and t.secret = p_secret
    ) then
        raise exception 'only the relay that leads may forget what was published' using errcode = 'RB031';
    end if;
    with named as materialized (
        select o.id, o.user_id from outbox o where o.id = any (p_ids)
    ),
    kept as (
        select o.user_id, min(o.id) as first_id
          from outbox o
          left join named n on n.id = o.id
         where o.id <= (select max(id) from named) and n.id is null group by o.user_id
    ),
    gone as (
        delete from outbox o using named n left join kept k on k.user_id = n.user_id
         where o.id = n.id and (k.first_id is null or k.first_id > o.id)
        returning o.user_id, o.order_id, o.order_event_seq, o.entry_seq
    )
    select count(*), array_agg(user_id), array_agg(order_id), array_agg(order_event_seq), array_agg(entry_seq)
      into deleted, user_ids, order_ids, order_event_seqs, entry_seqs from gone;
    if deleted = cardinality(p_ids) and p_counts is not null then
        perform add_to_rollups_v1(p_counts);
    elsif deleted > 0 then
        perform add_to_rollups_v1(count_events_v1(user_ids, order_ids, order_event_seqs, entry_seqs));
    end if;
    return deleted;
end $$;
