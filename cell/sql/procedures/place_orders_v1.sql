-- Place up to 64 orders, at most one per user: ownership, idempotency, risk checks, order, event, hold, ledger entry,
-- balances, venue instruction and outbox row in one transaction, set-based.
--
-- Result: one row per command, in no particular order. outcome:
--   accepted                                   durable; figures = {held, hold_px, status}
--   a refusal's code                           stored under the key, nothing else written; figures explain it
--   replayed = true                            what the key's first use answered; of an accepted order with its terms
--   IDEMPOTENCY_KEY_REUSED                     same key, other body; nothing written
--   DEPARTED | USER_HALTED | NOT_FOUND | DEFERRED   nothing written or stored; DEFERRED: another writer has the user
-- A stop order is accepted as `armed`, or, if a recent last price is already through its stop, as if it were triggered.
-- Outside the session (p_market_hours other than `always`, by market_sessions) an order is accepted as `queued` for the
-- open, an ioc or fok is refused with MARKET_CLOSED; a stop is armed, and only a price of a session triggers it.
-- An armed stop's mark is the number of the price that it was judged by here; if that could not be (the market is
-- closed, the price is old), of the one before it: published again, that price counts. Nothing is lost in between: see
-- judge_stops_v1.
-- An order is for a quantity or for an amount (p_notionals). A buy by amount holds the amount. A sale by amount holds
-- what the amount needs at the worst price it may trade at (its limit; of a market order 5 % below the reference), as
-- far as shares are free; there must be as many free as it needs at the limit or the reference.
-- Risk checks, by the user's risk_profiles row: PRICE_OUT_OF_BAND (every profile); POSITION_LIMIT of a buy: the
-- position at the reference price, what its open buys hold and what this one would hold; ORDER_RATE_LIMIT: accepted
-- orders of the last second and minute, and their worth: what a buy holds, a sale's quantity at its limit, else its
-- stop, else the reference price.
-- p_at is the market's time, it chooses the session; null: the database's clock, read under the locks. App servers say
-- null: their clocks may differ, and a command that waits for a lock over the close comes after it. What is recorded,
-- the order's id and the rates have the database's time in any case.
-- One order in p_log_one_in (is_logged_v1) keeps the ids of the request that placed it, for the log.
-- SQLSTATEs: 55P03 when p_wait and the lock did not come in time.
-- Lock order: users by id; everything else is reached under a user's lock.
-- p_wait null: a preview. Nothing is locked, nobody is waited for, and nothing is written: what placing would answer to
-- what is committed at this moment.
-- Statement one only locks; a later statement, with a later snapshot, reads what the locks protect.
create or replace function place_orders_v1(
    p_user_ids uuid[], p_keys text[], p_fingerprints bytea[], p_client_order_ids text[],
    p_symbols text[], p_sides text[], p_types text[], p_times_in_force text[],
    p_order_qtys bigint[], p_limit_pxs bigint[],
    p_at timestamptz, p_reference_age_max interval, p_wait boolean default false,
    p_stop_pxs bigint[] default null, p_market_hours text default 'always', p_notionals bigint[] default null,
    p_request_ids text[] default null, p_trace_ids text[] default null, p_log_one_in integer default null
) returns table (
    ordinal integer, outcome text, figures jsonb, resource_id uuid, at timestamptz, replayed boolean
)
language plpgsql security definer
set search_path from current
-- the arrays are small and the tables are large, whatever the statistics of a young table say
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := case when p_wait is null then p_user_ids else lock_users_v1(p_user_ids, p_wait) end;
    locked_at constant timestamptz := clock_v1();
    market_at constant timestamptz := coalesce(p_at, locked_at);
    market_open boolean := true;
    next_open timestamptz;
    day_ends timestamptz;                             -- the close of the session that an order of now belongs to
    -- a reference price may be this much older, and p_reference_age_max
    prices_until timestamptz := locked_at;
    value_max constant bigint := 100000000000000000;  -- $10^11 for one order
    cash_max constant bigint := 1000000000000000000;  -- $10^12 with what open sells would bring in: far inside bigint
begin
    if p_market_hours <> 'always' then
        select m.opens_at <= market_at, m.opens_at, m.closes_at into market_open, next_open, day_ends
          from market_sessions m where m.closes_at > market_at order by m.closes_at limit 1;
        market_open := coalesce(market_open, false);
        if not market_open then  -- the last price of the last session is as recent as a price can be
            select least(prices_until, max(m.closes_at)) into prices_until from market_sessions m
             where m.closes_at <= market_at;
        end if;
    end if;

    return query
    with command as (
        select c.*
          from unnest(p_user_ids, p_keys, p_fingerprints, p_client_order_ids, p_symbols, p_sides, p_types,
                      p_times_in_force, p_order_qtys, p_limit_pxs, p_stop_pxs, p_notionals) with ordinality
            as c (user_id, key, fingerprint, client_order_id, symbol, side, type, time_in_force, order_qty,
                  limit_px, stop_px, notional, ordinal)
    ),
    read as materialized (   -- else what is computed here would be computed again wherever it is used below
        select c.*, u.user_id is not null as is_here, u.user_id = any (locked) as is_locked,
               u.epoch, u.owner_state, u.lease_ends_at, u.forward_cell, u.forward_epoch, u.restricted, u.cash_micros,
               u.write_seq, u.entry_seq,
               u.order_event_seq, u.chain_head, next_time_v1(locked_at, u.recorded_at) as recorded_at,
               k.outcome as stored_outcome, k.fingerprint as stored_fingerprint, k.figures as stored_figures,
               k.resource_id as stored_resource_id, k.at as stored_at,
               s.symbol as known_symbol, s.tradable, s.halted, s.reference_px_micros, s.reference_at,
               s.venue_low_px_micros, s.venue_high_px_micros,
               l.position_max_micros, l.orders_per_second_max, l.orders_per_minute_max, l.value_per_minute_max_micros,
               l.price_band_bps,
               n.in_second, n.in_minute, n.value_in_minute, n.ats as recent_ats, n.worths as recent_values,
               coalesce(p.qty_micros, 0) as shares, coalesce(p.qty_held_micros, 0) as shares_held,
               coalesce(p.qty_micros - p.qty_held_micros, 0) as shares_free, u.cash_held_micros,
               greatest(c.limit_px, c.stop_px, s.reference_px_micros) * 0.000001 as sell_px,
               px.hold_px,
               case
                   when c.type not in ('stop', 'stop_limit')
                       then case when market_open then 'funds_held' else 'queued' end
                   when e.sees_price and case c.side when 'buy' then s.reference_px_micros >= c.stop_px
                                                     else s.reference_px_micros <= c.stop_px end then 'funds_held'
                   else 'armed'
               end as entry_status,
               coalesce(s.price_number, 0) - case when e.sees_price then 0 else 1 end as stop_mark,
               case when c.side = 'buy' then w.worth else 0 end as hold_cash, w.worth,
               case when c.notional is null then c.order_qty
                    else shares_for_v1(c.notional, coalesce(c.limit_px, s.reference_px_micros)) end as needed_shares,
               case when c.notional is null then c.order_qty
                    else least(shares_for_v1(c.notional, px.hold_px), p.qty_micros - p.qty_held_micros) end
                        as hold_shares
          from command c
          left join users u on u.user_id = c.user_id
          left join risk_profiles l on l.profile = u.profile
          cross join lateral recent_orders_v1(
                u.recent_order_ats, u.recent_order_values, locked_at,
                num_nonnulls(l.orders_per_second_max, l.orders_per_minute_max, l.value_per_minute_max_micros) > 0) n
          left join idempotency_keys k on k.user_id = c.user_id and k.key = c.key
          left join symbols s on s.symbol = c.symbol
          cross join lateral (select coalesce(market_open and s.reference_at >= locked_at - p_reference_age_max, false)
                as sees_price) e
          left join positions p on p.user_id = c.user_id and p.symbol = c.symbol
                and (c.side = 'sell' or u.restricted or l.position_max_micros is not null)
          -- a market buy goes out as a limit at the collar: 5 % above the reference (a stop's: above the stop, unless
          -- the price is there already), down to a whole tick of the collar
          cross join lateral (select div(case when c.type = 'stop' then greatest(c.stop_px, s.reference_px_micros)
                                              else s.reference_px_micros end::numeric * 105, 100)::bigint
                as px) collar
          cross join lateral (select case
                when c.type in ('limit', 'stop_limit') then c.limit_px
                when c.side = 'sell' and c.notional is not null then floor_px_v1(s.reference_px_micros)
                when collar.px >= 1000000 then collar.px / 10000 * 10000
                else greatest(collar.px, 100) / 100 * 100
            end as hold_px) px
          cross join lateral (select coalesce(c.notional, ceil(c.order_qty::numeric * 0.000001 * case c.side
                when 'buy' then px.hold_px else coalesce(c.limit_px, c.stop_px, s.reference_px_micros) end)) as worth) w
    ),
    judged as materialized (   -- only what is needed below: each column is copied for each of its readers
        select r.ordinal, r.user_id, r.key, r.fingerprint, r.recorded_at, time_ordered_id_v1(r.recorded_at) as order_id,
               r.client_order_id, r.symbol, r.side, r.type, r.time_in_force,
               r.order_qty, r.notional, r.needed_shares, r.hold_shares, r.limit_px, r.stop_px, r.hold_px, r.hold_cash,
               r.worth, r.entry_status, r.stop_mark, r.cash_micros, r.shares_free,
               r.reference_at, r.epoch, r.lease_ends_at, r.forward_cell, r.forward_epoch, r.write_seq, r.entry_seq,
               r.order_event_seq, r.chain_head, r.stored_outcome, r.stored_figures, r.stored_resource_id, r.stored_at,
               r.recent_ats, r.recent_values, coalesce(
            case when not r.is_here then 'NOT_FOUND' when not r.is_locked then 'DEFERRED' end,
            case when p_wait is null then ownership_v1(r.owner_state, r.lease_ends_at)
                 else locked_ownership_v1(r.owner_state) end,
            case
                when r.stored_outcome is not null then
                    case when same_request_v1(r.stored_fingerprint, r.fingerprint) then 'REPLAYED'
                         else 'IDEMPOTENCY_KEY_REUSED' end
                when r.known_symbol is null then 'UNKNOWN_SYMBOL'
                when not r.tradable then 'SYMBOL_NOT_TRADABLE'
                when r.halted then 'SYMBOL_HALTED'
                -- a restricted account closes positions: it sells, and buys back what a late fill made it owe, no more
                -- (how many shares an amount buys nobody knows before: it is no way to buy back, and an open one leaves
                -- no room)
                when r.restricted and r.side = 'buy'
                    and (r.shares >= 0 or r.notional is not null or r.order_qty > -r.shares - (
                    select coalesce(sum(coalesce(o.order_qty_micros - o.cum_qty_micros, 1000000000000000)), 0)
                      from orders o
                     where o.user_id = r.user_id and o.symbol = r.symbol and o.side = 'buy'
                       and o.status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
                )) then 'ACCOUNT_RESTRICTED'
                when r.client_order_id is not null and exists (
                    select from orders o where o.user_id = r.user_id and o.client_order_id = r.client_order_id
                ) then 'DUPLICATE_CLIENT_ORDER_ID'
                when not market_open and (r.time_in_force in ('ioc', 'fok') or day_ends is null) then 'MARKET_CLOSED'
                when r.type = 'market' and (r.reference_px_micros is null
                     or r.reference_at < prices_until - p_reference_age_max) then 'NO_REFERENCE_PRICE'
                when is_out_of_band_v1(r.limit_px, r.reference_px_micros, r.price_band_bps, r.venue_low_px_micros,
                                       r.venue_high_px_micros)
                  or is_out_of_band_v1(r.stop_px, r.reference_px_micros, r.price_band_bps, r.venue_low_px_micros,
                                       r.venue_high_px_micros)
                    then 'PRICE_OUT_OF_BAND'
                when r.order_qty * case r.side when 'buy' then r.hold_px * 0.000001 else r.sell_px end > value_max
                    then 'ORDER_VALUE_LIMIT'
                when r.side = 'sell' and r.cash_micros::numeric + r.cash_held_micros
                     + (r.shares_held::numeric + r.hold_shares) * r.sell_px > cash_max then 'BALANCE_LIMIT'
                when r.side = 'buy' and r.hold_cash > r.cash_micros then 'INSUFFICIENT_BUYING_POWER'
                when r.side = 'sell' and r.needed_shares > r.shares_free then 'INSUFFICIENT_SHARES'
                when r.side = 'buy' and is_over_position_limit_v1(
                        r.user_id, r.symbol, r.shares, coalesce(r.reference_px_micros, r.limit_px, r.stop_px),
                        r.cash_held_micros, 0, r.hold_cash,
                        r.position_max_micros) then 'POSITION_LIMIT'
                when r.in_second >= r.orders_per_second_max or r.in_minute >= r.orders_per_minute_max
                     or r.value_in_minute + r.worth > r.value_per_minute_max_micros then 'ORDER_RATE_LIMIT'
                else 'accepted'
            end) as outcome
          from read r
    ),
    answered as materialized (   -- narrow, for what is answered; `chained` below is for what is written
        select j.ordinal, j.user_id, j.key, j.fingerprint, j.outcome, j.order_id, j.recorded_at, j.stored_outcome,
               j.stored_resource_id, j.stored_at,
            case j.outcome
                when 'accepted' then jsonb_build_object(
                    'held', case when j.side = 'sell' and j.notional is not null then j.hold_shares
                                 else j.hold_cash end,
                    'hold_px', j.hold_px, 'status', j.entry_status)
                when 'INSUFFICIENT_BUYING_POWER' then
                    jsonb_build_object('required', j.hold_cash, 'available', greatest(j.cash_micros, 0))
                when 'INSUFFICIENT_SHARES' then
                    jsonb_build_object('required', j.needed_shares, 'available', greatest(j.shares_free, 0))
                when 'ORDER_VALUE_LIMIT' then jsonb_build_object('limit', value_max)
                when 'NO_REFERENCE_PRICE' then jsonb_build_object('reference_at', j.reference_at)
                when 'MARKET_CLOSED' then
                    jsonb_build_object('opens_at', to_char(next_open at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                when 'USER_HALTED' then jsonb_build_object('lease_ends_at', j.lease_ends_at)
                when 'DEPARTED' then jsonb_build_object('owner', j.forward_cell, 'epoch', j.forward_epoch)
                when 'REPLAYED' then case when j.stored_outcome = 'accepted' then j.stored_figures || (
                    select jsonb_build_object(
                               'client_order_id', o.client_order_id, 'symbol', o.symbol, 'side', o.side, 'type', o.type,
                               'time_in_force', o.time_in_force, 'order_qty_micros', o.order_qty_micros,
                               'limit_px_micros', o.limit_px_micros, 'stop_px_micros', o.stop_px_micros,
                               'notional_micros', o.notional_micros)
                      from orders o where o.user_id = j.user_id and o.order_id = j.stored_resource_id)
                    else j.stored_figures end
                else case when j.outcome in ('PRICE_OUT_OF_BAND', 'POSITION_LIMIT', 'ORDER_RATE_LIMIT') then
                    risk_figures_v1(j.outcome, j.user_id, j.symbol, j.limit_px, j.stop_px, j.hold_cash, 0, j.worth,
                                    locked_at) end
            end as figures
          from judged j
    ),
    chained as materialized (
        select j.user_id, j.order_id, j.recorded_at, j.client_order_id, j.symbol, j.side, j.type, j.time_in_force,
               j.order_qty, j.notional,
               j.limit_px, j.stop_px, j.hold_px, j.entry_status, j.stop_mark, j.worth, j.recent_ats, j.recent_values,
               j.epoch, j.chain_head, case when is_logged_v1(j.order_id, p_log_one_in) then j.ordinal end as logged,
               h.amount, h.account, h.unit, j.write_seq + 1 as new_write_seq, j.entry_seq + 1 as new_entry_seq,
               j.order_event_seq + 1 as new_stream_seq,
               entry_hash_v1(j.chain_head, j.user_id, j.entry_seq + 1, j.order_id, 'hold', j.order_id, j.recorded_at,
                             posting_line_v1(1, h.account, h.unit, 'debit', h.amount),
                             posting_line_v1(2, h.account || '_held', h.unit, 'credit', h.amount)) as hash
          from judged j
         cross join lateral (select case j.side when 'buy' then j.hold_cash::bigint else j.hold_shares::bigint end,
                                    case j.side when 'buy' then 'cash' else 'shares' end,
                                    case j.side when 'buy' then 'USD' else j.symbol end) h (amount, account, unit)
         where j.outcome = 'accepted' and p_wait is not null
    ),
    keys as (
        insert into idempotency_keys (user_id, key, fingerprint, outcome, resource_id, figures, at)
        select user_id, key, fingerprint, outcome, case when outcome = 'accepted' then order_id end, figures,
               recorded_at
          from answered
         where p_wait is not null
           and outcome not in ('NOT_FOUND', 'DEFERRED', 'DEPARTED', 'USER_HALTED', 'REPLAYED', 'IDEMPOTENCY_KEY_REUSED')
    ),
    new_orders as (
        insert into orders (user_id, order_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros,
                            notional_micros,
                            limit_px_micros, stop_px_micros, hold_px_micros, status, held_cash_micros,
                            held_shares_micros,
                            event_seq, write_seq, created_at, updated_at, expires_at, request_id, trace_id)
        select user_id, order_id, client_order_id, symbol, side, type, time_in_force, order_qty, notional,
               limit_px, stop_px, case when side = 'buy' or notional is not null then hold_px end, entry_status,
               case side when 'buy' then amount else 0 end, case side when 'sell' then amount else 0 end,
               3, new_write_seq, recorded_at, recorded_at, case when time_in_force <> 'gtc' then day_ends end,
               p_request_ids[logged], p_trace_ids[logged]   -- null for all others
          from chained
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  cum_qty_micros, cum_cost_micros)
        select user_id, order_id, 3, new_stream_seq, 'validated', entry_status,
               case when stop_px is not null and entry_status = 'funds_held' then 'accepted, stop reached'
                    else 'accepted' end, recorded_at, 0, 0
          from chained
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, order_id, 'hold', order_id, recorded_at, chain_head, hash from chained
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select c.user_id, c.new_entry_seq, l.line, c.account || l.suffix, c.unit, l.direction, c.amount
          from chained c
            cross join (values (1::smallint, '', 'debit'), (2::smallint, '_held', 'credit')) l (line, suffix, direction)
    ),
    new_positions as (
        update positions p set qty_held_micros = p.qty_held_micros + c.amount
          from chained c where c.side = 'sell' and p.user_id = c.user_id and p.symbol = c.symbol
    ),
    new_instructions as (
        insert into venue_instructions (user_id, order_id, action, created_at)
        select user_id, order_id, 'submit', recorded_at from chained where entry_status = 'funds_held'
    ),
    new_stops as (
        insert into armed_stops (user_id, order_id, symbol, side, stop_px_micros, armed_at, mark)
        select user_id, order_id, symbol, side, stop_px, locked_at, stop_mark from chained where entry_status = 'armed'
    ),
    new_queue as (
        insert into queued_orders (user_id, order_id, release_at)
        select user_id, order_id, next_open from chained where entry_status = 'queued'
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                            occurred_at)
        select user_id, new_write_seq, epoch, order_id, 3, new_stream_seq, new_entry_seq, recorded_at from chained
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros - case c.side when 'buy' then c.amount else 0 end,
               cash_held_micros = u.cash_held_micros + case c.side when 'buy' then c.amount else 0 end,
               recorded_at = c.recorded_at, write_seq = c.new_write_seq, entry_seq = c.new_entry_seq,
               order_event_seq = c.new_stream_seq,
               chain_head = c.hash,
               recent_order_ats
                   = case when c.recent_ats is null then u.recent_order_ats else c.recent_ats || locked_at end,
               recent_order_values
                   = case when c.recent_ats is null then u.recent_order_values
                          else c.recent_values || c.worth::bigint end
          from chained c where u.user_id = c.user_id
    )
    select e.ordinal::integer,
           case e.outcome when 'REPLAYED' then e.stored_outcome else e.outcome end,
           e.figures,
           case e.outcome when 'REPLAYED' then e.stored_resource_id when 'accepted' then e.order_id end,
           case e.outcome when 'REPLAYED' then e.stored_at else e.recorded_at end,
           e.outcome = 'REPLAYED'
      from answered e;
end $$;
