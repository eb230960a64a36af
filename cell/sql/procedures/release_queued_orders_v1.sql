-- Send orders that waited for the open on their way (`queued` -> `funds_held` with an instruction to submit), up to
-- p_limit per call, few of one user: users are served round robin after p_after, each one's oldest orders first. Who is
-- locked by another writer, or halted or gone, is passed over while choosing. Only while the market is open: a session
-- that fell out of the calendar opens nothing. A day order whose session is over already is left to expire.
-- Result: how many were released, how many users were passed over, and p_after of the next call. A call that releases
-- nothing: nothing more can go now, or its users were all passed over, and the next call goes on behind them.
-- Lock order: users while they are chosen (SKIP LOCKED), then everything is read again.
create or replace function release_queued_orders_v1(
    p_limit integer, p_at timestamptz, p_market_hours text, p_after uuid default null
) returns table (released integer, passed_over integer, next_after uuid)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    users_looked_at_max constant integer := 1024;   -- about 5 ms, even if another writer has every one of them
    -- each is a statement of its own (one order per user and round): others wait for it
    of_one_user_max constant integer := 32;
    due_at constant timestamptz := case p_market_hours when 'always' then 'infinity' else p_at end;
    chosen record;
    due_users uuid[];
    due_orders uuid[];
begin
    if p_market_hours <> 'always' and not market_is_open_v1(p_at) then
        return query select 0, 0, p_after;
        return;
    end if;
    select * into chosen from lock_round_robin_v1('queued', p_after, p_limit, users_looked_at_max, due_at);
    select array_agg(d.user_id order by d.number, d.order_id), array_agg(d.order_id order by d.number, d.order_id)
      into due_users, due_orders from (
        select l.user_id, i.order_id, i.number
          from unnest(chosen.locked) as l (user_id)
          cross join lateral (
              select n.order_id, row_number() over (order by n.order_id) as number from (
                  select q.order_id from queued_orders q
                    join orders o on o.user_id = q.user_id and o.order_id = q.order_id
                        and coalesce(o.expires_at > p_at, true)
                   where q.user_id = l.user_id and q.release_at <= due_at order by q.order_id
                    limit of_one_user_max) n) i
         order by i.number, i.order_id limit p_limit
    ) d;
    return query select r.advanced, chosen.passed_over, chosen.last_user
      from advance_in_rounds_v1(due_users, due_orders, 'queued', 'the market is open', false) r;
end $$;
