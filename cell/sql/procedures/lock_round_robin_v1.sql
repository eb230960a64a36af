-- Lock the next users who have something in a queue, round robin: in order of id after p_after, then from the lowest id
-- on. So nobody waits for another's backlog. Users whom another writer has, or who are halted or gone, are passed over
-- while choosing: they use up nothing of p_limit. At most p_look_max users are looked at, because each costs a look-up.
-- Queues: unsent (venue_instructions), queued (queued_orders due at p_due), reached (reached_stops). Each is read by an
-- index that begins with the user, one step per user and not per row (a loose index scan, written as a recursion).
-- How it goes: read up to `wanted` users after `behind`; lock those who can be locked now; when nobody is left up to
-- the highest id, go on at the lowest, up to where the call started; end when p_limit users are locked, p_look_max were
-- looked at, or everybody was.
-- Not for callers outside. As the service role it has no right to lock.
-- Result: who is locked now; the last user looked at, from whom the next call goes on; how many were passed over; and
-- whether everybody in the queue was looked at.
create or replace function lock_round_robin_v1(
    p_queue text, p_after uuid, p_limit integer, p_look_max integer, p_due timestamptz default null
) returns table (locked uuid[], last_user uuid, passed_over integer, looked_at_all boolean)
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    lowest constant uuid := '00000000-0000-0000-0000-000000000000';
    highest constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    start constant uuid := coalesce(p_after, lowest);
    behind uuid := start;
    until uuid := highest;
    wanted integer;
    next_users uuid[];
    looked integer := 0;
begin
    locked := '{}';
    last_user := p_after;
    looked_at_all := false;
    loop
        wanted := least(p_limit - cardinality(locked), p_look_max - looked);
        exit when wanted <= 0;
        if p_queue = 'unsent' then
            with recursive sender as (
                (select user_id from venue_instructions
                  where sent_at is null and user_id > behind and user_id <= until order by user_id limit 1)
                union all
                select n.user_id from sender s cross join lateral (
                    select user_id from venue_instructions
                     where sent_at is null and user_id > s.user_id and user_id <= until order by user_id limit 1) n
            )
            select array_agg(w.user_id) into next_users from (select user_id from sender limit wanted) w;
        elsif p_queue = 'queued' then
            with recursive sender as (
                (select user_id from queued_orders
                  where release_at <= p_due and user_id > behind and user_id <= until order by user_id limit 1)
                union all
                select n.user_id from sender s cross join lateral (
                    select user_id from queued_orders
                     where release_at <= p_due and user_id > s.user_id and user_id <= until order by user_id limit 1) n
            )
            select array_agg(w.user_id) into next_users from (select user_id from sender limit wanted) w;
        elsif p_queue = 'reached' then
            with recursive sender as (
                (select user_id from reached_stops where user_id > behind and user_id <= until order by user_id limit 1)
                union all
                select n.user_id from sender s cross join lateral (
                    select user_id from reached_stops where user_id > s.user_id and user_id <= until order by user_id
                     limit 1) n
            )
            select array_agg(w.user_id) into next_users from (select user_id from sender limit wanted) w;
        else
            raise exception 'no queue %', p_queue;
        end if;
        if next_users is not null then
            looked := looked + cardinality(next_users);
            behind := next_users[cardinality(next_users)];
            last_user := behind;
            locked := locked || lock_users_v1(array(
                select u.user_id from users u
                 where u.user_id = any (next_users) and ownership_v1(u.owner_state, u.lease_ends_at) is null), false);
        end if;
        if coalesce(cardinality(next_users), 0) < wanted then   -- nobody is left up to here
            looked_at_all := until < highest or start = lowest;
            exit when looked_at_all;
            behind := lowest;
            until := start;
        end if;
    end loop;
    passed_over := looked - cardinality(locked);
    return next;
end $$;
