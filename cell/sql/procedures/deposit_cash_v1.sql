-- Credit up to 64 deposits, at most one per user; a deposit is settled at once until ACH is built.
-- Result as in place_orders_v1; accepted: resource_id = the deposit, when replayed with figures = {amount_micros}.
-- Lock order: users by id.
create or replace function deposit_cash_v1(
    p_user_ids uuid[], p_keys text[], p_fingerprints bytea[], p_amounts bigint[], p_wait boolean default false
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
    cash_max constant bigint := 1000000000000000000;  -- $10^12: far from what bigint can hold, so sums cannot overflow
begin
    return query
    with command as (
        select c.* from unnest(p_user_ids, p_keys, p_fingerprints, p_amounts) with ordinality
            as c (user_id, key, fingerprint, amount, ordinal)
    ),
    judged as materialized (
        select c.*, n.recorded_at, time_ordered_id_v1(n.recorded_at) as deposit_id, u.epoch, u.cash_micros, u.write_seq,
               u.entry_seq, u.chain_head, u.lease_ends_at, u.forward_cell, u.forward_epoch,
               k.outcome as stored_outcome, k.figures as stored_figures, k.resource_id as stored_resource_id,
               k.at as stored_at,
               coalesce(
                   case when u.user_id is null then 'NOT_FOUND' when u.user_id <> all (locked) then 'DEFERRED' end,
                   locked_ownership_v1(u.owner_state),
                   case
                       when k.outcome is not null then
                           case when same_request_v1(k.fingerprint, c.fingerprint) then 'REPLAYED'
                                else 'IDEMPOTENCY_KEY_REUSED' end
                       when u.cash_micros::numeric + u.cash_held_micros + c.amount > cash_max then 'BALANCE_LIMIT'
                       else 'accepted'
                   end) as outcome
          from command c
          left join users u on u.user_id = c.user_id
         cross join lateral (select next_time_v1(locked_at, u.recorded_at) as recorded_at) n
          left join idempotency_keys k on k.user_id = c.user_id and k.key = c.key
    ),
    chained as materialized (
        select j.*, j.write_seq + 1 as new_write_seq, j.entry_seq + 1 as new_entry_seq,
               entry_hash_v1(j.chain_head, j.user_id, j.entry_seq + 1, j.deposit_id, 'deposit', null, j.recorded_at,
                             posting_line_v1(1, 'bank', 'USD', 'debit', j.amount),
                             posting_line_v1(2, 'cash', 'USD', 'credit', j.amount)) as hash
          from judged j where j.outcome = 'accepted'
    ),
    keys as (
        insert into idempotency_keys (user_id, key, fingerprint, outcome, resource_id, figures, at)
        select user_id, key, fingerprint, outcome, case when outcome = 'accepted' then deposit_id end, null, recorded_at
          from judged where outcome in ('accepted', 'BALANCE_LIMIT')
    ),
    new_deposits as (
        insert into deposits (user_id, deposit_id, amount_micros, status, at)
        select user_id, deposit_id, amount, 'settled', recorded_at from chained
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, deposit_id, 'deposit', null, recorded_at, chain_head, hash from chained
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select c.user_id, c.new_entry_seq, l.line, l.account, 'USD', l.direction, c.amount
          from chained c
            cross join (values (1::smallint, 'bank', 'debit'), (2::smallint, 'cash', 'credit')) l (line, account,
                    direction)
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, entry_seq, occurred_at)
        select user_id, new_write_seq, epoch, new_entry_seq, recorded_at from chained
    ),
    new_users as (
        update users u
           set cash_micros = u.cash_micros + c.amount, recorded_at = c.recorded_at, write_seq = c.new_write_seq,
               entry_seq = c.new_entry_seq,
               chain_head = c.hash
          from chained c where u.user_id = c.user_id
    )
    select j.ordinal::integer,
           case j.outcome when 'REPLAYED' then j.stored_outcome else j.outcome end,
           case j.outcome when 'REPLAYED' then coalesce(j.stored_figures, (
                    select jsonb_build_object('amount_micros', d.amount_micros)
                      from deposits d where d.user_id = j.user_id and d.deposit_id = j.stored_resource_id))
                          when 'DEPARTED' then jsonb_build_object('owner', j.forward_cell, 'epoch', j.forward_epoch)
                when 'USER_HALTED' then jsonb_build_object('lease_ends_at', j.lease_ends_at) end,
           case j.outcome when 'REPLAYED' then j.stored_resource_id when 'accepted' then j.deposit_id end,
           case j.outcome when 'REPLAYED' then j.stored_at else j.recorded_at end,
           j.outcome = 'REPLAYED'
      from judged j;
end $$;
