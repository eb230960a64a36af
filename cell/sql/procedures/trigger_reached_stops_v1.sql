-- Send stops that were reached (reached_stops, by judge_stops_v1) on their way: each goes once from `armed` to
-- `funds_held` with an instruction to submit it, up to p_limit per call and few of one user. Users are served round
-- robin after p_after; who is locked by another writer, or halted or gone, is passed over while choosing, and their
-- stops stay reached, whatever the price does. Outside the session nothing goes: a day order expires, another goes at
-- the next open. A halted symbol's stops wait too. A reached stop that was replaced meanwhile, its level unchanged, is
-- still reached: its successor goes.
-- Result: how many were triggered, how many users were passed over, and p_after of the next call. A call that triggers
-- nothing: nothing more can go now, or its users were all passed over, and the next call goes on behind them.
-- Lock order: users while they are chosen (SKIP LOCKED), then everything is read again.
create or replace function trigger_reached_stops_v1(
    p_limit integer, p_at timestamptz, p_market_hours text default 'always', p_after uuid default null
) returns table (triggered integer, passed_over integer, next_after uuid)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    users_looked_at_max constant integer := 1024;   -- about 5 ms, even if another writer has every one of them
    -- each is a statement of its own (one order per user and round): others wait for it
    of_one_user_max constant integer := 32;
    chosen record;
    due_users uuid[];
    due_orders uuid[];
begin
    if p_market_hours <> 'always' and not market_is_open_v1(p_at) then
        return query select 0, 0, p_after;
        return;
    end if;
    select * into chosen from lock_round_robin_v1('reached', p_after, p_limit, users_looked_at_max);
    if chosen.locked = '{}' then
        return query select 0, chosen.passed_over, chosen.last_user;
        return;
    end if;
    -- judged without the user's lock, so perhaps while a replacement was on its way
    with recursive successors as (
        select r.user_id, o.replaced_by as order_id, r.number, r.px_micros, o.stop_px_micros
          from reached_stops r
            join orders o on o.user_id = r.user_id and o.order_id = r.order_id and o.status = 'replaced'
         where r.user_id = any (chosen.locked)
        union all
        select s.user_id, o.replaced_by, s.number, s.px_micros, s.stop_px_micros
          from successors s join orders o on o.user_id = s.user_id and o.order_id = s.order_id and o.status = 'replaced'
               and o.stop_px_micros = s.stop_px_micros
    )
    insert into reached_stops as r (user_id, order_id, number, px_micros)
    select a.user_id, a.order_id, s.number, s.px_micros
      from successors s join armed_stops a on a.user_id = s.user_id and a.order_id = s.order_id
           and a.stop_px_micros = s.stop_px_micros and a.mark < s.number
    on conflict do nothing;
    delete from reached_stops r
     where r.user_id = any (chosen.locked)
       and not exists (select from armed_stops a where a.user_id = r.user_id and a.order_id = r.order_id);

    select array_agg(d.user_id order by d.number, d.order_id), array_agg(d.order_id order by d.number, d.order_id)
      into due_users, due_orders from (
        select l.user_id, i.order_id, i.number
          from unnest(chosen.locked) as l (user_id)
          cross join lateral (
              select n.order_id, row_number() over (order by n.order_id) as number from (
                  select r.order_id from reached_stops r
                    join armed_stops a on a.user_id = r.user_id and a.order_id = r.order_id
                    join symbols s on s.symbol = a.symbol and not s.halted
                   where r.user_id = l.user_id order by r.order_id limit of_one_user_max) n) i
         order by i.number, i.order_id limit p_limit
    ) d;
    select r.advanced, chosen.passed_over, chosen.last_user into triggered, passed_over, next_after
      from advance_in_rounds_v1(due_users, due_orders, 'armed', 'stop reached', false) r;
    delete from reached_stops r
     using unnest(due_users, due_orders) as d (user_id, order_id)
     where r.user_id = d.user_id and r.order_id = d.order_id
       and not exists (select from armed_stops a where a.user_id = d.user_id and a.order_id = d.order_id);
    return next;
end $$;
