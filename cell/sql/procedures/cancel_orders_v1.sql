-- Ask for up to 64 cancels, at most one per user. An order the venue has not seen ends at once; one it has seen becomes
-- pending_cancel until the venue confirms, and keeps its funds until then.
--
-- Result: one row per command. outcome:
--   cancelled | pending_cancel      figures = the order's row as it then was (a replay answers with the same)
--   ORDER_NOT_FOUND | ORDER_NOT_OPEN   stored; figures = {status}
--   IDEMPOTENCY_KEY_REUSED, DEPARTED, USER_HALTED, NOT_FOUND, DEFERRED as in place_orders_v1
-- Lock order: users by id.
create or replace function cancel_orders_v1(
    p_user_ids uuid[], p_keys text[], p_fingerprints bytea[], p_order_ids uuid[], p_wait boolean default false
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
begin
    return query
    with command as (
        select c.* from unnest(p_user_ids, p_keys, p_fingerprints, p_order_ids) with ordinality
            as c (user_id, key, fingerprint, order_id, ordinal)
    ),
    judged as materialized (
        select c.*, u.epoch, u.write_seq, u.entry_seq, u.order_event_seq, u.chain_head,
               next_time_v1(locked_at, u.recorded_at) as recorded_at, u.lease_ends_at, u.forward_cell, u.forward_epoch,
               k.outcome as stored_outcome, k.figures as stored_figures, k.resource_id as stored_resource_id,
               k.at as stored_at,
               o.status, o.symbol, o.side, o.event_seq, o.held_cash_micros, o.held_shares_micros,
               o.cum_qty_micros, o.cum_cost_micros,
               coalesce(
                   case when u.user_id is null then 'NOT_FOUND' when u.user_id <> all (locked) then 'DEFERRED' end,
                   locked_ownership_v1(u.owner_state),
                   case
                       when k.outcome is not null then
                           case when same_request_v1(k.fingerprint, c.fingerprint) then 'REPLAYED'
                                else 'IDEMPOTENCY_KEY_REUSED' end
                       when o.order_id is null then 'ORDER_NOT_FOUND'
                       when o.status in ('queued', 'armed', 'funds_held') then 'cancelled'
                       when o.status in ('routed', 'partially_filled', 'pending_cancel') then 'pending_cancel'
                       else 'ORDER_NOT_OPEN'
                   end) as outcome
          from command c
          left join users u on u.user_id = c.user_id
          left join idempotency_keys k on k.user_id = c.user_id and k.key = c.key
          left join orders o on o.user_id = c.user_id and o.order_id = c.order_id
    ),
    moved as materialized (   -- those that change the order; asking twice for a cancel that is pending changes nothing
        select j.*, j.event_seq + 1 as new_event_seq, j.write_seq + 1 as new_write_seq,
               j.order_event_seq + 1 as new_stream_seq, j.outcome = 'cancelled' as ends,
               case when j.outcome = 'cancelled' then j.entry_seq + 1 end as new_entry_seq,
               case j.side when 'buy' then 'cash' else 'shares' end as account,
               case j.side when 'buy' then 'USD' else j.symbol end as unit,
               case j.side when 'buy' then j.held_cash_micros else j.held_shares_micros end as amount,
               md5('release|' || j.order_id || '|' || (j.event_seq + 1))::uuid as entry_id
          from judged j where j.outcome in ('cancelled', 'pending_cancel') and j.status <> j.outcome
    ),
    chained as materialized (
        select m.*,
               entry_hash_v1(m.chain_head, m.user_id, m.new_entry_seq, m.entry_id, 'release', m.order_id, m.recorded_at,
                                  posting_line_v1(1, m.account || '_held', m.unit, 'debit', m.amount),
                                  posting_line_v1(2, m.account, m.unit, 'credit', m.amount)) as hash
          from moved m
    ),
    new_events as (
        insert into order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                  cum_qty_micros, cum_cost_micros)
        select user_id, order_id, new_event_seq, new_stream_seq, status, outcome, 'cancel requested', recorded_at,
               cum_qty_micros, cum_cost_micros
          from chained
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, entry_id, 'release', order_id, recorded_at, chain_head, hash from chained
         where ends
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select c.user_id, c.new_entry_seq, l.line, c.account || l.suffix, c.unit, l.direction, c.amount
          from chained c
            cross join (values (1::smallint, '_held', 'debit'), (2::smallint, '', 'credit')) l (line, suffix, direction)
         where c.ends
    ),
    new_positions as (
        update positions p set qty_held_micros = p.qty_held_micros - c.amount
          from chained c where c.ends and c.side = 'sell' and p.user_id = c.user_id and p.symbol = c.symbol
    ),
    ended_stops as (
        delete from armed_stops a using chained c where c.ends and a.user_id = c.user_id and a.order_id = c.order_id
    ),
    ended_queue as (
        delete from queued_orders q using chained c where c.ends and q.user_id = c.user_id and q.order_id = c.order_id
    ),
    ended_instructions as (
        delete from venue_instructions i using chained c
         where c.ends and i.user_id = c.user_id and i.order_id = c.order_id
    ),
    new_instructions as (
        insert into venue_instructions (user_id, order_id, action, created_at)
        select user_id, order_id, 'cancel', recorded_at from chained where not ends
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                            occurred_at)
        select user_id, new_write_seq, epoch, order_id, new_event_seq, new_stream_seq, new_entry_seq, recorded_at
          from chained
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros + case when c.ends and c.side = 'buy' then c.amount else 0 end,
               cash_held_micros = u.cash_held_micros - case when c.ends and c.side = 'buy' then c.amount else 0 end,
               recorded_at = c.recorded_at, write_seq = c.new_write_seq,
               entry_seq = coalesce(c.new_entry_seq, u.entry_seq),
               order_event_seq = c.new_stream_seq, chain_head = case when c.ends then c.hash else u.chain_head end
          from chained c where u.user_id = c.user_id
    ),
    new_orders as (
        update orders o
           set status = c.outcome, event_seq = c.new_event_seq, write_seq = c.new_write_seq, updated_at = c.recorded_at,
               held_cash_micros = case when c.ends then 0 else o.held_cash_micros end,
               held_shares_micros = case when c.ends then 0 else o.held_shares_micros end
          from chained c where o.user_id = c.user_id and o.order_id = c.order_id
        returning o.user_id, o.order_id, order_figures_v1(o) as row
    ),
    explained as materialized (
        select j.*, case j.outcome
                when 'REPLAYED' then j.stored_figures
                when 'DEPARTED' then jsonb_build_object('owner', j.forward_cell, 'epoch', j.forward_epoch)
                when 'USER_HALTED' then jsonb_build_object('lease_ends_at', j.lease_ends_at)
                when 'ORDER_NOT_OPEN' then jsonb_build_object('order_status', j.status)
                else coalesce(n.row, case when j.outcome = 'pending_cancel' then
                    (select order_figures_v1(o) from orders o
                      where o.user_id = j.user_id and o.order_id = j.order_id) end)
            end as figures
          from judged j left join new_orders n on n.user_id = j.user_id and n.order_id = j.order_id
    ),
    keys as (
        insert into idempotency_keys (user_id, key, fingerprint, outcome, resource_id, figures, at)
        select user_id, key, fingerprint, outcome, order_id, figures, recorded_at from explained
         where outcome in ('cancelled', 'pending_cancel', 'ORDER_NOT_FOUND', 'ORDER_NOT_OPEN')
    )
    select e.ordinal::integer,
           case e.outcome when 'REPLAYED' then e.stored_outcome else e.outcome end,
           e.figures,
           case e.outcome when 'REPLAYED' then e.stored_resource_id else e.order_id end,
           case e.outcome when 'REPLAYED' then e.stored_at else e.recorded_at end,
           e.outcome = 'REPLAYED'
      from explained e;
end $$;
