-- Claim up to p_limit unsent instructions to the venue and mark them sent before they are: what is sent was committed
-- first. A submit moves its order to `routed`; an instruction whose order ended meanwhile is dropped.
-- Users are served round robin after p_after: each one's oldest instruction first; only then do users get more, up to
-- p_limit in all. So one user's backlog delays nobody, and fills the call when nobody else has anything. Users whom
-- another writer has locked, or who are halted or gone, are passed over while choosing.
-- A replace names the new order, `replaces` the old one, and order_qty_micros the whole as the venue counts it.
-- An order by amount has cash_micros; its order_qty_micros is null for a buy, for a sale the shares that it may take at
-- most.
-- Result: what to send, in order of id; next_after is p_after of the next call. Fewer than p_limit: nothing is left
-- that can be claimed now, or so many users in a row were passed over that no further one was looked at. In that case,
-- and with p_after, there is one row without an instruction, for next_after.
-- Lock order: users while they are chosen (SKIP LOCKED), then everything is read again.
create or replace function claim_instructions_v1(p_limit integer, p_after uuid default null)
returns table (
    instruction_id bigint, action text, user_id uuid, order_id uuid, client_order_id text, symbol text, side text,
    type text, time_in_force text, order_qty_micros bigint, limit_px_micros bigint, replaces uuid, cash_micros bigint,
    next_after uuid
)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    users_looked_at_max constant integer := 1024;   -- about 5 ms, even if another writer has every one of them
    chosen record;
    chosen_ids bigint[];
    locked_at timestamptz;
begin
    select * into chosen from lock_round_robin_v1('unsent', p_after, p_limit, users_looked_at_max);
    if chosen.locked = '{}' then
        if p_after is not null and not chosen.looked_at_all then
            return query select null::bigint, null, null::uuid, null::uuid, null, null, null, null, null,
                                null::bigint, null::bigint, null::uuid, null::bigint, chosen.last_user;
        end if;
        return;
    end if;
    select array_agg(c.id) into chosen_ids from (
        select i.id
          from unnest(chosen.locked) as l (user_id)
          cross join lateral (
              select n.id, row_number() over (order by n.id) as number
                from (select id from venue_instructions where user_id = l.user_id and sent_at is null
                       -- enough users for the whole call: nobody's second one is looked at
                       order by id limit case when cardinality(chosen.locked) = p_limit then 1 else p_limit end) n) i
         order by i.number, i.id limit p_limit
    ) c;
    locked_at := clock_v1();

    return query
    with judged as materialized (
        select i.id, i.action, i.user_id, i.order_id, o.status, o.event_seq, o.client_order_id, o.symbol, o.side,
               o.type,
               o.time_in_force, case when i.action = 'replace' then o.replace_qty_micros
                                       when o.notional_micros is not null and o.side = 'sell' then o.held_shares_micros
                                       else o.order_qty_micros end as order_qty_micros, o.notional_micros,
               o.replaces, coalesce(o.hold_px_micros, o.limit_px_micros) as limit_px_micros,
               o.cum_qty_micros, o.cum_cost_micros, u.epoch, u.write_seq, u.order_event_seq,
               next_time_v1(locked_at, u.recorded_at) as recorded_at,
               (i.action = 'submit' and o.status = 'funds_held')
                   or (i.action in ('cancel', 'expire') and o.status = 'pending_cancel')
                   or (i.action = 'replace' and o.status = 'pending_replace') as due
          from venue_instructions i
          join users u on u.user_id = i.user_id
          join orders o on o.user_id = i.user_id and o.order_id = i.order_id
         where i.id = any (chosen_ids) and i.sent_at is null
           and locked_ownership_v1(u.owner_state) is null
    ),
    routed as (
        select *, row_number() over (partition by user_id order by id) as step from judged
         where due and action = 'submit'
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  cum_qty_micros, cum_cost_micros)
        select user_id, order_id, event_seq + 1, order_event_seq + step, 'funds_held', 'routed', 'sent to the venue',
               recorded_at,
               cum_qty_micros, cum_cost_micros
          from routed
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, occurred_at)
        select user_id, write_seq + step, epoch, order_id, event_seq + 1, order_event_seq + step, recorded_at
          from routed
         order by user_id, step
    ),
    new_users as (
        update users u
           set recorded_at = r.recorded_at, write_seq = u.write_seq + r.orders,
               order_event_seq = u.order_event_seq + r.orders
          from (select user_id, count(*) as orders, max(recorded_at) as recorded_at from routed group by user_id) r
           where u.user_id = r.user_id
    ),
    new_orders as (
        update orders o
           set status = 'routed', event_seq = r.event_seq + 1, write_seq = r.write_seq + r.step,
               updated_at = r.recorded_at
          from routed r where o.user_id = r.user_id and o.order_id = r.order_id
    ),
    sent as (
        update venue_instructions i set sent_at = locked_at, attempts = i.attempts + 1
          from judged j where j.due and i.id = j.id
    ),
    dropped as (
        delete from venue_instructions i using judged j where not j.due and i.id = j.id
    )
    select j.id, j.action, j.user_id, j.order_id, j.client_order_id, j.symbol, j.side, j.type, j.time_in_force,
           j.order_qty_micros, j.limit_px_micros, case j.action when 'replace' then j.replaces end, j.notional_micros,
           chosen.last_user
      from judged j where j.due order by j.id;
end $$;
