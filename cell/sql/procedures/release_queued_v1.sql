-- Send up to p_limit orders that waited for the open on their way (`queued` -> `funds_held` with an instruction to submit),
-- those of the earliest open first. Only while the market is open: a session that fell out of the calendar opens nothing.
-- A day order whose session is over already is left to expire.
-- Result: how many were released, and how many of the due ones were put off because another writer had the user.
-- Lock order: candidates without locks, then users by id (SKIP LOCKED), then everything is read again.
create or replace function brokerage.release_queued_v1(p_limit integer, p_at timestamptz, p_market_hours text)
returns table (released integer, put_off integer)
language plpgsql security definer
set search_path = brokerage, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    due_users uuid[];
    due_orders uuid[];
begin
    if p_market_hours <> 'always' and not market_is_open_v1(p_at) then
        return query select 0, 0;
        return;
    end if;
    select array_agg(d.user_id), array_agg(d.order_id) into due_users, due_orders from (
        select q.user_id, q.order_id
          from queued_orders q
          join users u on u.user_id = q.user_id and ownership_v1(u.owner_state, u.lease_ends_at) is null
          join orders o on o.user_id = q.user_id and o.order_id = q.order_id and coalesce(o.expires_at > p_at, true)
         where q.release_at <= p_at or p_market_hours = 'always'
         order by q.release_at, q.order_id limit p_limit
    ) d;
    return query select r.moved, r.put_off
      from send_in_rounds_v1(due_users, due_orders, 'queued', 'the market is open', false) r;
end $$;
