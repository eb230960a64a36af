-- Replace up to 64 orders, at most one per user. A replacement is a new order that names the old one in `replaces`. Its
-- quantity is asked for as the old order's whole (fills included), and the new order begins with what is left of it.
--
-- An order that the venue never saw (queued, armed, funds_held) is replaced at once: its hold comes back, the new one
-- is held, in two entries. One that the venue has (routed, partially_filled) becomes `pending_replace`, and so begins
-- the new one, until the venue confirms or refuses; until then the old order holds the larger of what the two need, so
-- that either may be the one that fills.
--
-- Result: one row per command. outcome:
--   accepted                        durable; resource_id = the new order, figures = its row as it then was
--   STALE_ETAG                      stored; p_etags holds the order's event_seq that the caller saw, null: any
--   ORDER_NOT_FOUND | ORDER_NOT_OPEN | ORDER_NOT_REPLACEABLE | QTY_BELOW_FILLED | INVALID_FIELD   stored, figures say
--   why the refusals of place_orders_v1 that can apply, stored; IDEMPOTENCY_KEY_REUSED, DEPARTED, USER_HALTED,
--   NOT_FOUND, DEFERRED
-- A stop whose level changes is judged as if it were placed: already passed, it goes at once, and its mark is a new
-- one. At the same level it keeps its mark, and if a price has touched it already, it goes at once.
-- Outside the session an order cannot become one that does not wait: ioc and fok are refused with MARKET_CLOSED, as
-- when placed.
-- Risk checks: a replacement counts as an order, worth what is left of it; the price band judges a price that becomes
-- another one; the position limit judges what would hold more than the old order does: what asks for less is never in
-- its way.
-- p_at is the market's time, and p_log_one_in which new orders keep their request's ids, as in place_orders_v1.
-- SQLSTATEs: 55P03 when p_wait and the lock did not come in time. Lock order: users by id.
create or replace function replace_orders_v1(
    p_user_ids uuid[], p_keys text[], p_fingerprints bytea[], p_order_ids uuid[], p_etags integer[],
    p_order_qtys bigint[], p_limit_pxs bigint[], p_stop_pxs bigint[], p_times_in_force text[],
    p_at timestamptz, p_wait boolean default false, p_market_hours text default 'always',
    p_client_order_ids text[] default null,
    p_reference_age_max interval default '60 seconds',
    p_request_ids text[] default null, p_trace_ids text[] default null, p_log_one_in integer default null
) returns table (
    ordinal integer, outcome text, figures jsonb, resource_id uuid, at timestamptz, replayed boolean
)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := lock_users_v1(p_user_ids, p_wait);
    locked_at constant timestamptz := clock_v1();
    market_at constant timestamptz := coalesce(p_at, locked_at);   -- as in place_orders_v1
    market_open boolean := true;
    next_open timestamptz;
    day_ends timestamptz;
    value_max constant bigint := 100000000000000000;  -- these two as in place_orders_v1
    cash_max constant bigint := 1000000000000000000;
begin
    if p_market_hours <> 'always' then
        select m.opens_at <= market_at, m.opens_at, m.closes_at into market_open, next_open, day_ends
          from market_sessions m where m.closes_at > market_at order by m.closes_at limit 1;
        market_open := coalesce(market_open, false);
    end if;

    return query
    with command as (
        select c.*
          from unnest(p_user_ids, p_keys, p_fingerprints, p_order_ids, p_etags, p_order_qtys, p_limit_pxs,
                      p_stop_pxs, p_times_in_force, p_client_order_ids) with ordinality
            as c (user_id, key, fingerprint, order_id, etag, asked_qty, asked_limit_px, asked_stop_px, asked_tif,
                  client_order_id, ordinal)
    ),
    read as (
        select c.*, u.user_id is not null as is_here, u.user_id = any (locked) as is_locked,
               u.epoch, u.owner_state, u.lease_ends_at, u.forward_cell, u.forward_epoch, u.restricted, u.cash_micros,
               u.write_seq, u.entry_seq, u.order_event_seq, u.chain_head,
               next_time_v1(locked_at, u.recorded_at) as recorded_at,
               k.outcome as stored_outcome, k.fingerprint as stored_fingerprint, k.figures as stored_figures,
               k.resource_id as stored_resource_id, k.at as stored_at,
               o.order_id is not null as is_found, o.status, o.event_seq, o.symbol, o.side, o.type, o.order_qty_micros,
               o.cum_qty_micros, o.cum_cost_micros, o.held_cash_micros, o.held_shares_micros, o.expires_at,
               o.status in ('queued', 'armed', 'funds_held') as at_once,
               market_open and o.status = 'armed' and case
                   when coalesce(c.asked_stop_px = o.stop_px_micros, true) then exists (
                       select from reached_stops r where r.user_id = o.user_id and r.order_id = o.order_id)
                   when o.side = 'buy' then e.sees_price and s.reference_px_micros >= c.asked_stop_px
                   else e.sees_price and s.reference_px_micros <= c.asked_stop_px
               end as is_reached,
               case when coalesce(c.asked_stop_px = o.stop_px_micros, true) then a.mark
                    else coalesce(s.price_number, 0) - case when e.sees_price then 0 else 1 end end as stop_mark,
               s.tradable, s.halted, s.reference_px_micros, s.venue_low_px_micros, s.venue_high_px_micros,
               l.position_max_micros, l.orders_per_second_max, l.orders_per_minute_max, l.value_per_minute_max_micros,
               l.price_band_bps,
               n.in_second, n.in_minute, n.value_in_minute, n.ats as recent_ats, n.worths as recent_values,
               nullif(c.asked_limit_px, o.limit_px_micros) as new_limit_px,
               nullif(c.asked_stop_px, o.stop_px_micros) as new_stop_px,
               coalesce(p.qty_micros - p.qty_held_micros, 0) as shares_free,
               coalesce(p.qty_micros, 0) as shares, coalesce(p.qty_held_micros, 0) as shares_held, u.cash_held_micros,
               greatest(coalesce(c.asked_limit_px, o.limit_px_micros), coalesce(c.asked_stop_px, o.stop_px_micros),
                        s.reference_px_micros) * 0.000001 as sell_px,
               coalesce(c.asked_qty, o.order_qty_micros) as whole_qty,
               coalesce(c.asked_limit_px, o.limit_px_micros) as limit_px,
               coalesce(c.asked_stop_px, o.stop_px_micros) as stop_px,
               coalesce(c.asked_tif, o.time_in_force) as time_in_force,
               case
                   when o.type in ('limit', 'stop_limit') then coalesce(c.asked_limit_px, o.limit_px_micros)
                   -- the collar of a stop, as when it is placed
                   when o.type = 'stop' and c.asked_stop_px is not null then
                       case when collar.px >= 1000000 then collar.px / 10000 * 10000
                            else greatest(collar.px, 100) / 100 * 100 end
                   else o.hold_px_micros
               end as hold_px
          from command c
          left join users u on u.user_id = c.user_id
          left join risk_profiles l on l.profile = u.profile
          cross join lateral recent_orders_v1(
                u.recent_order_ats, u.recent_order_values, locked_at,
                num_nonnulls(l.orders_per_second_max, l.orders_per_minute_max, l.value_per_minute_max_micros) > 0) n
          left join idempotency_keys k on k.user_id = c.user_id and k.key = c.key
          left join orders o on o.user_id = c.user_id and o.order_id = c.order_id
          left join armed_stops a on a.user_id = o.user_id and a.order_id = o.order_id
          left join symbols s on s.symbol = o.symbol
          cross join lateral (select coalesce(market_open and s.reference_at >= locked_at - p_reference_age_max, false)
                as sees_price) e
          left join positions p on p.user_id = c.user_id and p.symbol = o.symbol
                and (o.side = 'sell' or u.restricted or l.position_max_micros is not null)
          cross join lateral (select div(greatest(c.asked_stop_px, s.reference_px_micros)::numeric * 105, 100)::bigint
                              as px) collar
    ),
    sized as (
        select r.*, r.whole_qty - r.cum_qty_micros as new_qty,
               case when r.side = 'buy' then ceil((r.whole_qty - r.cum_qty_micros)::numeric * r.hold_px * 0.000001)
                    else r.whole_qty - r.cum_qty_micros end as needed,
               case when r.side = 'buy' then r.held_cash_micros else r.held_shares_micros end as held,
               ceil((r.whole_qty - r.cum_qty_micros)::numeric * 0.000001 * case r.side
                    when 'buy' then r.hold_px else coalesce(r.limit_px, r.stop_px, r.reference_px_micros) end) as worth
          from read r
    ),
    judged as materialized (
        select z.*, time_ordered_id_v1(z.recorded_at) as new_order_id, z.needed - z.held as more, coalesce(
            case when not z.is_here then 'NOT_FOUND' when not z.is_locked then 'DEFERRED' end,
            locked_ownership_v1(z.owner_state),
            case
                when z.stored_outcome is not null then
                    case when same_request_v1(z.stored_fingerprint, z.fingerprint) then 'REPLAYED'
                         else 'IDEMPOTENCY_KEY_REUSED' end
                when not z.is_found then 'ORDER_NOT_FOUND'
                when z.etag <> z.event_seq then 'STALE_ETAG'
                when not z.at_once and z.status not in ('routed', 'partially_filled') then 'ORDER_NOT_OPEN'
                when z.order_qty_micros is null then 'ORDER_NOT_REPLACEABLE'
                when z.asked_limit_px is not null and z.type not in ('limit', 'stop_limit') then 'INVALID_FIELD'
                when z.asked_stop_px is not null
                    and (z.type not in ('stop', 'stop_limit') or z.status not in ('queued', 'armed'))
                    then 'INVALID_FIELD'
                when z.new_qty <= 0 then 'QTY_BELOW_FILLED'
                when not z.tradable then 'SYMBOL_NOT_TRADABLE'
                when z.halted then 'SYMBOL_HALTED'
                when not market_open and (z.asked_tif in ('ioc', 'fok') or z.asked_tif = 'day' and day_ends is null)
                    then 'MARKET_CLOSED'
                -- a restricted account buys back what it owes beyond its other orders, no more
                when z.restricted and z.side = 'buy' and (z.shares >= 0 or z.new_qty > -z.shares - (
                    select coalesce(sum(coalesce(o.order_qty_micros - o.cum_qty_micros, 1000000000000000)), 0)
                      from orders o
                     where o.user_id = z.user_id and o.symbol = z.symbol and o.side = 'buy' and o.order_id <> z.order_id
                       and o.status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
                )) then 'ACCOUNT_RESTRICTED'
                when z.client_order_id is not null and exists (
                    select from orders o where o.user_id = z.user_id and o.client_order_id = z.client_order_id
                ) then 'DUPLICATE_CLIENT_ORDER_ID'
                when is_out_of_band_v1(z.new_limit_px, z.reference_px_micros, z.price_band_bps, z.venue_low_px_micros,
                                       z.venue_high_px_micros)
                  or is_out_of_band_v1(z.new_stop_px, z.reference_px_micros, z.price_band_bps, z.venue_low_px_micros,
                                       z.venue_high_px_micros)
                    then 'PRICE_OUT_OF_BAND'
                when z.new_qty * case z.side when 'buy' then z.hold_px * 0.000001 else z.sell_px end > value_max
                    then 'ORDER_VALUE_LIMIT'
                when z.side = 'sell' and z.cash_micros::numeric + z.cash_held_micros
                     + (z.shares_held::numeric + greatest(z.needed - z.held, 0)) * z.sell_px > cash_max
                         then 'BALANCE_LIMIT'
                when z.side = 'buy' and z.needed - z.held > greatest(z.cash_micros, 0) then 'INSUFFICIENT_BUYING_POWER'
                when z.side = 'sell' and z.needed - z.held > greatest(z.shares_free, 0) then 'INSUFFICIENT_SHARES'
                when z.side = 'buy' and z.needed > z.held and is_over_position_limit_v1(
                        z.user_id, z.symbol, z.shares, coalesce(z.reference_px_micros, z.limit_px, z.stop_px),
                        z.cash_held_micros, z.held,
                        z.needed, z.position_max_micros) then 'POSITION_LIMIT'
                when z.in_second >= z.orders_per_second_max or z.in_minute >= z.orders_per_minute_max
                     or z.value_in_minute + z.worth > z.value_per_minute_max_micros then 'ORDER_RATE_LIMIT'
                else 'accepted'
            end) as outcome
          from sized z
    ),
    accepted as materialized (
        select j.*, j.write_seq + 1 as new_write_seq, j.event_seq + 1 as old_event_seq,
               case when is_logged_v1(j.new_order_id, p_log_one_in) then j.ordinal end as logged,
               case when j.at_once then 'replaced' else 'pending_replace' end as old_status,
               case when not j.at_once then 'pending_replace' when j.is_reached then 'funds_held' else j.status end
                   as new_status,
               case j.side when 'buy' then 'cash' else 'shares' end as account,
               case j.side when 'buy' then 'USD' else j.symbol end as unit
          from judged j where j.outcome = 'accepted'
    ),
    -- The entries: an order replaced at once gives its hold back and the new one takes its own; a pending one only adds
    -- to the old order's hold what the new one needs more. `place` is the order within the write.
    movements as (
        select a.*, m.*, a.entry_seq + row_number() over (partition by a.user_id order by m.place) as seq
          from accepted a
          cross join lateral (values
              (1, 'release', a.order_id, '_held', '', case when a.at_once then a.held else 0 end,
               md5('release|' || a.order_id || '|' || (a.event_seq + 1))::uuid),
              (2, 'hold', a.new_order_id, '', '_held', case when a.at_once then a.needed else 0 end, a.new_order_id),
              (1, 'replace', a.order_id, '', '_held', case when a.at_once then 0 else greatest(a.more, 0) end,
               md5('replace|' || a.order_id || '|' || (a.event_seq + 1))::uuid)
          ) as m (place, kind, of_order_id, debited, credited, amount, entry_id)
         where m.amount > 0
    ),
    first_links as materialized (
        select m.*, entry_hash_v1(m.chain_head, m.user_id, m.seq, m.entry_id, m.kind, m.of_order_id, m.recorded_at,
                                  posting_line_v1(1, m.account || m.debited, m.unit, 'debit', m.amount::bigint),
                                  posting_line_v1(2, m.account || m.credited, m.unit, 'credit', m.amount::bigint))
                                      as hash
          from movements m where m.seq = m.entry_seq + 1
    ),
    links as materialized (
        select f.user_id, f.seq, f.entry_id, f.kind, f.of_order_id, f.account, f.unit, f.debited, f.credited, f.amount,
               f.chain_head as previous_hash, f.hash, f.recorded_at
          from first_links f
        union all
        select m.user_id, m.seq, m.entry_id, m.kind, m.of_order_id, m.account, m.unit, m.debited, m.credited, m.amount,
               f.hash,
               entry_hash_v1(f.hash, m.user_id, m.seq, m.entry_id, m.kind, m.of_order_id, m.recorded_at,
                             posting_line_v1(1, m.account || m.debited, m.unit, 'debit', m.amount::bigint),
                             posting_line_v1(2, m.account || m.credited, m.unit, 'credit', m.amount::bigint)),
                             m.recorded_at
          from movements m join first_links f on f.user_id = m.user_id
         where m.seq = m.entry_seq + 2
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, seq, entry_id, kind, of_order_id, recorded_at, previous_hash, hash from links
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select k.user_id, k.seq, l.line, k.account || case l.line when 1 then k.debited else k.credited end, k.unit,
               l.direction,
               k.amount
          from links k cross join (values (1::smallint, 'debit'), (2::smallint, 'credit')) l (line, direction)
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  cum_qty_micros, cum_cost_micros, order_qty_micros)
        select user_id, order_id, old_event_seq, order_event_seq + 1, status, old_status, 'replace requested',
               recorded_at,
               cum_qty_micros, cum_cost_micros, null
          from accepted
        union all
        select user_id, new_order_id, 3, order_event_seq + 2, 'validated', new_status,
               case when is_reached then 'accepted, stop reached' when at_once then 'accepted'
                    else 'waits for the venue to replace' end,
               recorded_at, 0, 0, new_qty
          from accepted
    ),
    -- one outbox row per event, each with the entry of its own order, in the order of both streams
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                            occurred_at)
        select b.user_id, b.new_write_seq, b.epoch, b.order_id, b.event_seq, b.stream_seq, b.entry_seq, b.recorded_at
          from (
            select a.user_id, a.new_write_seq, a.epoch, a.order_id, a.old_event_seq as event_seq,
                   a.order_event_seq + 1 as stream_seq,
                   (select k.seq from links k where k.user_id = a.user_id and k.of_order_id = a.order_id) as entry_seq,
                   a.recorded_at
              from accepted a
            union all
            select a.user_id, a.new_write_seq, a.epoch, a.new_order_id, 3, a.order_event_seq + 2,
                   (select k.seq from links k where k.user_id = a.user_id and k.of_order_id = a.new_order_id),
                   a.recorded_at
              from accepted a
        ) b order by b.user_id, b.stream_seq
    ),
    ended_stops as (
        delete from armed_stops s using accepted a where a.at_once and s.user_id = a.user_id and s.order_id = a.order_id
    ),
    new_stops as (
        insert into armed_stops (user_id, order_id, symbol, side, stop_px_micros, armed_at, mark)
        select user_id, new_order_id, symbol, side, stop_px, locked_at, stop_mark from accepted
         where new_status = 'armed'
    ),
    new_queue as (
        insert into queued_orders (user_id, order_id, release_at)
        select q.user_id, a.new_order_id, q.release_at
          from queued_orders q join accepted a on q.user_id = a.user_id and q.order_id = a.order_id
         where a.new_status = 'queued'
    ),
    ended_queue as (
        delete from queued_orders q using accepted a
         where a.at_once and q.user_id = a.user_id and q.order_id = a.order_id
    ),
    ended_instructions as (
        delete from venue_instructions i using accepted a
         where a.at_once and i.user_id = a.user_id and i.order_id = a.order_id
    ),
    new_instructions as (
        insert into venue_instructions (user_id, order_id, action, created_at)
        select user_id, new_order_id, case when at_once then 'submit' else 'replace' end, recorded_at
          from accepted where new_status in ('funds_held', 'pending_replace')
    ),
    new_positions as (
        update positions p set qty_held_micros = p.qty_held_micros
            + case when a.at_once then a.more else greatest(a.more, 0) end
          from accepted a where a.side = 'sell' and p.user_id = a.user_id and p.symbol = a.symbol
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros - m.more, cash_held_micros = u.cash_held_micros + m.more,
               recorded_at = m.recorded_at, write_seq = m.new_write_seq, order_event_seq = m.order_event_seq + 2,
               entry_seq = coalesce((select max(k.seq) from links k where k.user_id = m.user_id), u.entry_seq),
               chain_head = coalesce((select k.hash from links k where k.user_id = m.user_id order by k.seq desc
                                      limit 1), u.chain_head),
               recent_order_ats
                   = case when m.recent_ats is null then u.recent_order_ats else m.recent_ats || locked_at end,
               recent_order_values
                   = case when m.recent_ats is null then u.recent_order_values
                          else m.recent_values || m.worth::bigint end
          from (select a.user_id, a.recorded_at, a.new_write_seq, a.order_event_seq, a.recent_ats, a.recent_values,
                a.worth,
                       case when a.side = 'sell' then 0 when a.at_once then a.more else greatest(a.more, 0) end as more
                  from accepted a) m
         where u.user_id = m.user_id
    ),
    old_orders as (
        update orders o
           set status = a.old_status, event_seq = a.old_event_seq, write_seq = a.new_write_seq,
               updated_at = a.recorded_at,
               replaced_by = a.new_order_id,
               held_cash_micros
                   = case when a.side = 'sell' or a.at_once then 0 else o.held_cash_micros + greatest(a.more, 0) end,
               held_shares_micros
                   = case when a.side = 'buy' or a.at_once then 0 else o.held_shares_micros + greatest(a.more, 0) end
          from accepted a where o.user_id = a.user_id and o.order_id = a.order_id
    ),
    new_orders as (
        insert into orders (user_id, order_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros,
                            limit_px_micros,
                            stop_px_micros, hold_px_micros, status, held_cash_micros, held_shares_micros, replaces,
                            replace_qty_micros, event_seq, write_seq, created_at, updated_at, expires_at,
                            request_id, trace_id)
        select user_id, new_order_id, client_order_id, symbol, side, type, time_in_force, new_qty, limit_px, stop_px,
               case side when 'buy' then hold_px end, new_status,
               case when side = 'buy' and at_once then needed else 0 end,
                   case when side = 'sell' and at_once then needed else 0 end,
               order_id, whole_qty, 3, new_write_seq, recorded_at, recorded_at,
               case when time_in_force <> 'gtc' then coalesce(expires_at, day_ends) end,
               p_request_ids[logged], p_trace_ids[logged]   -- null for all others
          from accepted
        returning user_id, order_figures_v1(orders) as row
    ),
    explained as materialized (
        select j.*, case j.outcome
                when 'accepted' then n.row
                when 'REPLAYED' then j.stored_figures
                when 'DEPARTED' then jsonb_build_object('owner', j.forward_cell, 'epoch', j.forward_epoch)
                when 'USER_HALTED' then jsonb_build_object('lease_ends_at', j.lease_ends_at)
                when 'STALE_ETAG' then jsonb_build_object('etag', '"' || j.event_seq || '"', 'order_status', j.status)
                when 'ORDER_NOT_OPEN' then jsonb_build_object('order_status', j.status)
                when 'INVALID_FIELD' then jsonb_build_object(
                    'field', case when j.asked_limit_px is not null and j.type not in ('limit', 'stop_limit')
                                  then 'limit_price'
                                  else 'stop_price' end, 'type', j.type, 'order_status', j.status)
                when 'MARKET_CLOSED' then
                    jsonb_build_object('opens_at', to_char(next_open at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                when 'QTY_BELOW_FILLED' then jsonb_build_object('filled', j.cum_qty_micros)
                when 'ORDER_VALUE_LIMIT' then jsonb_build_object('limit', value_max)
                when 'INSUFFICIENT_BUYING_POWER' then
                    jsonb_build_object('required', j.more::bigint, 'available', greatest(j.cash_micros, 0))
                when 'INSUFFICIENT_SHARES' then
                    jsonb_build_object('required', j.more::bigint, 'available', greatest(j.shares_free, 0))
                else case when j.outcome in ('PRICE_OUT_OF_BAND', 'POSITION_LIMIT', 'ORDER_RATE_LIMIT') then
                    risk_figures_v1(j.outcome, j.user_id, j.symbol,
                        case j.outcome when 'PRICE_OUT_OF_BAND' then j.new_limit_px else j.limit_px end,
                        case j.outcome when 'PRICE_OUT_OF_BAND' then j.new_stop_px else j.stop_px end,
                        j.needed, j.held, j.worth, locked_at) end
            end as figures
          from judged j left join new_orders n on n.user_id = j.user_id
    ),
    keys as (
        insert into idempotency_keys (user_id, key, fingerprint, outcome, resource_id, figures, at)
        select user_id, key, fingerprint, outcome, case when outcome = 'accepted' then new_order_id end, figures,
               recorded_at
          from explained
         where outcome not in ('NOT_FOUND', 'DEFERRED', 'DEPARTED', 'USER_HALTED', 'REPLAYED', 'IDEMPOTENCY_KEY_REUSED')
    )
    select e.ordinal::integer,
           case e.outcome when 'REPLAYED' then e.stored_outcome else e.outcome end,
           e.figures,
           case e.outcome when 'REPLAYED' then e.stored_resource_id when 'accepted' then e.new_order_id end,
           case e.outcome when 'REPLAYED' then e.stored_at else e.recorded_at end,
           e.outcome = 'REPLAYED'
      from explained e;
end $$;
