-- End one page of the day orders of the session that closed at p_closes_at: up to p_limit orders after p_after, by
-- order id. One that the venue never saw (queued, armed, funds_held) ends `expired` now, its funds come back. One that
-- the venue has becomes pending_cancel with an instruction `expire` to the venue, keeps its funds, and ends when the
-- venue confirms. Harmless to repeat; what the market's own end of day or a customer's cancel has already
-- touched is only counted.
--
-- Result: the page's last order id (null: there is no further page), how many ended, for how many an instruction goes,
-- how many were deferred because another writer had the user or the user is halted, and how many are open after all
-- that.
-- Lock order: the page without locks, then users by id (SKIP LOCKED), then everything is read again.
create or replace function expire_day_orders_v1(p_closes_at timestamptz, p_after uuid, p_limit integer,
                                                          p_at timestamptz)
returns table (last_order_id uuid, ended integer, instructed integer, deferred integer, still_open integer)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    last_id uuid;
    due_users uuid[];
    due_orders uuid[];
    locked uuid[];
    round_users uuid[];
    round_orders uuid[];
    round_unseen boolean[];
    n_ended integer := 0;
    n_instructed integer := 0;
    n_open integer := 0;
    n_due integer := 0;
begin
    if p_at < p_closes_at then
        raise exception 'the session ends at %, it is %', p_closes_at, p_at using errcode = 'RB030';
    end if;
    select (array_agg(d.order_id order by d.order_id desc))[1],
           array_agg(d.user_id
                     order by d.order_id) filter (where d.status
                                                  = any (array['queued', 'armed', 'funds_held', 'routed',
                                                               'partially_filled'])),
           array_agg(d.order_id
                     order by d.order_id) filter (where d.status
                                                  = any (array['queued', 'armed', 'funds_held', 'routed',
                                                               'partially_filled'])),
           count(*) filter (where d.status in ('pending_cancel', 'pending_replace'))
      into last_id, due_users, due_orders, n_open from (
        select o.user_id, o.order_id, o.status from orders o
         where o.expires_at = p_closes_at and o.order_id > p_after
         order by o.expires_at, o.order_id limit p_limit
    ) d;
    n_due := coalesce(cardinality(due_orders), 0);
    if n_due > 0 then
        locked := lock_users_v1(due_users, false);
        loop  -- one order per user and round
            select array_agg(n.user_id), array_agg(n.order_id), array_agg(n.unseen) into round_users, round_orders,
                   round_unseen from (
                select distinct on (d.user_id) d.user_id, d.order_id,
                    o.status in ('queued', 'armed', 'funds_held') as unseen
                  from unnest(due_users, due_orders) as d (user_id, order_id)
                  join orders o on o.user_id = d.user_id and o.order_id = d.order_id
                 where d.user_id = any (locked)
                 order by d.user_id, d.order_id
            ) n;
            exit when round_users is null;
            n_ended := n_ended + advance_orders_v1(
                array(select r.u from unnest(round_users, round_unseen) r (u, unseen) where r.unseen),
                array(select r.o from unnest(round_orders, round_unseen) r (o, unseen) where r.unseen),
                array['queued', 'armed', 'funds_held'], 'expired', 'end of day', null);
            n_instructed := n_instructed + advance_orders_v1(
                array(select r.u from unnest(round_users, round_unseen) r (u, unseen) where not r.unseen),
                array(select r.o from unnest(round_orders, round_unseen) r (o, unseen) where not r.unseen),
                array['routed', 'partially_filled'], 'pending_cancel', 'end of day', 'expire');
            select array_agg(d.user_id), array_agg(d.order_id) into due_users, due_orders
              from unnest(due_users, due_orders) as d (user_id, order_id)
             where d.order_id <> all (round_orders);
            exit when due_users is null;
        end loop;
    end if;
    -- what was deferred includes an order that ended on its own since the page was read: the next pass finds it ended
    return query select last_id, n_ended, n_instructed, n_due - n_ended - n_instructed, n_open + n_due - n_ended;
end $$;
