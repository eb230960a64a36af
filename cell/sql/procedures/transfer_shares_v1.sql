-- Take in up to 64 transfers of shares from another broker, at most one per user. p_accept: post them at once (local
-- profile); otherwise they wait as `pending` for an operator, and nothing is posted.
-- Result as in place_orders_v1; figures = {status}, when replayed with the transfer's terms. Lock order: users by id.
create or replace function transfer_shares_v1(
    p_user_ids uuid[], p_keys text[], p_fingerprints bytea[], p_symbols text[],
    p_qtys bigint[], p_unit_costs bigint[], p_accept boolean, p_wait boolean default false
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
    qty_max constant bigint := 1000000000000000000;   -- 10^12 shares of one symbol
    cost_max constant bigint := 1000000000000000000;  -- $10^12 of cost basis in one symbol
begin
    return query
    with command as (
        select c.*
          from unnest(p_user_ids, p_keys, p_fingerprints, p_symbols, p_qtys, p_unit_costs) with ordinality
            as c (user_id, key, fingerprint, symbol, qty, unit_cost, ordinal)
    ),
    judged as materialized (
        select c.*, n.recorded_at, time_ordered_id_v1(n.recorded_at) as transfer_id, b.cost_basis, u.epoch, u.write_seq,
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
                       when s.symbol is null then 'UNKNOWN_SYMBOL'
                       when coalesce(p.qty_micros, 0)::numeric + c.qty > qty_max
                         or coalesce(p.cost_basis_micros, 0)::numeric + b.cost_basis > cost_max then 'BALANCE_LIMIT'
                       else 'accepted'
                   end) as outcome
          from command c
          left join users u on u.user_id = c.user_id
         cross join lateral (select next_time_v1(locked_at, u.recorded_at) as recorded_at) n
          left join idempotency_keys k on k.user_id = c.user_id and k.key = c.key
          left join symbols s on s.symbol = c.symbol
          left join positions p on p.user_id = c.user_id and p.symbol = c.symbol
          -- what gives back shares that were owed is no part of a position's cost
          cross join lateral (select case
                when p.qty_micros < 0 and p_accept then round_half_even_v1(
                    c.unit_cost * greatest(0, p.qty_micros::numeric + c.qty), 1000000)
                else round_half_even_v1(c.qty::numeric * c.unit_cost, 1000000)
            end as cost_basis) b
    ),
    explained as materialized (
        select j.*, case j.outcome
                when 'accepted' then jsonb_build_object('status', case when p_accept then 'accepted' else 'pending' end)
                when 'REPLAYED' then case when j.stored_outcome = 'accepted' then j.stored_figures || (
                    select jsonb_build_object('symbol', t.symbol, 'qty_micros', t.qty_micros, 'unit_cost_micros',
                                              t.unit_cost_micros)
                      from share_transfers t where t.user_id = j.user_id and t.transfer_id = j.stored_resource_id)
                    else j.stored_figures end
                when 'DEPARTED' then jsonb_build_object('owner', j.forward_cell, 'epoch', j.forward_epoch)
                when 'USER_HALTED' then jsonb_build_object('lease_ends_at', j.lease_ends_at)
            end as figures
          from judged j
    ),
    chained as materialized (
        select e.*, e.write_seq + 1 as new_write_seq, e.entry_seq + 1 as new_entry_seq,
               entry_hash_v1(e.chain_head, e.user_id, e.entry_seq + 1, e.transfer_id, 'share_transfer', null,
                             e.recorded_at,
                             posting_line_v1(1, 'transfer_agent', e.symbol, 'debit', e.qty),
                             posting_line_v1(2, 'shares', e.symbol, 'credit', e.qty)) as hash
          from explained e where e.outcome = 'accepted' and p_accept
    ),
    keys as (
        insert into idempotency_keys (user_id, key, fingerprint, outcome, resource_id, figures, at)
        select user_id, key, fingerprint, outcome, case when outcome = 'accepted' then transfer_id end, figures,
               recorded_at
          from explained where outcome in ('accepted', 'UNKNOWN_SYMBOL', 'BALANCE_LIMIT')
    ),
    new_transfers as (
        insert into share_transfers (user_id, transfer_id, symbol, qty_micros, unit_cost_micros, cost_basis_micros,
                                     status, at)
        select user_id, transfer_id, symbol, qty, unit_cost, cost_basis::bigint,
               case when p_accept then 'accepted' else 'pending' end, recorded_at
          from explained where outcome = 'accepted'
    ),
    new_entries as (
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        select user_id, new_entry_seq, transfer_id, 'share_transfer', null, recorded_at, chain_head, hash from chained
    ),
    new_postings as (
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        select c.user_id, c.new_entry_seq, l.line, l.account, c.symbol, l.direction, c.qty
          from chained c
            cross join (values (1::smallint, 'transfer_agent', 'debit'), (2::smallint, 'shares', 'credit')) l (line,
                    account, direction)
    ),
    new_positions as (
        insert into positions as p (user_id, symbol, qty_micros, cost_basis_micros)
        select user_id, symbol, qty, cost_basis::bigint from chained
        on conflict (user_id, symbol) do update
           set qty_micros = p.qty_micros + excluded.qty_micros,
               cost_basis_micros = p.cost_basis_micros + excluded.cost_basis_micros
    ),
    new_outbox as (
        insert into outbox (user_id, write_seq, epoch, entry_seq, occurred_at)
        select user_id, new_write_seq, epoch, new_entry_seq, recorded_at from chained
    ),
    new_users as (   -- one that waits is a write too
        update users u
           set recorded_at = e.recorded_at, write_seq = e.write_seq + 1,
               entry_seq = coalesce(c.new_entry_seq, u.entry_seq),
               chain_head = coalesce(c.hash, u.chain_head)
          from explained e left join chained c on c.user_id = e.user_id
         where e.outcome = 'accepted' and u.user_id = e.user_id
    )
    select e.ordinal::integer,
           case e.outcome when 'REPLAYED' then e.stored_outcome else e.outcome end,
           e.figures,
           case e.outcome when 'REPLAYED' then e.stored_resource_id when 'accepted' then e.transfer_id end,
           case e.outcome when 'REPLAYED' then e.stored_at else e.recorded_at end,
           e.outcome = 'REPLAYED'
      from explained e;
end $$;
