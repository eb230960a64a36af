-- A person approves or refuses a transfer of shares that waits. Approved, it is posted in this transaction as one that
-- is accepted at once is: entry, postings, position, outbox row. Harmless to repeat; the first decision stands.
--
-- Result, outcome, figures = {status, decided_at, decided_by, reason} of the decision that stands:
--   decided | ALREADY (the same decision was made before) | TRANSFER_DECIDED (the other one was made before)
--   BALANCE_LIMIT (it goes on waiting) | TRANSFER_NOT_FOUND
--   NOT_FOUND | DEPARTED {owner, epoch} | USER_HALTED {lease_ends_at}
-- Lock: the user's row, then what it protects is read.
create or replace function decide_share_transfer_v1(
    p_user_id uuid, p_transfer_id uuid, p_approve boolean, p_actor text, p_reason text
) returns table (outcome text, figures jsonb)
language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    account users;
    transfer share_transfers;
    holding positions;
    owned text;
    verdict constant text := case when p_approve then 'accepted' else 'refused' end;
    new_seq bigint;
    recorded timestamptz;
    basis numeric;
    entry_hash bytea;
    qty_max constant bigint := 1000000000000000000;   -- as in transfer_shares_v1
    cost_max constant bigint := 1000000000000000000;
begin
    perform lock_users_v1(array[p_user_id], true);
    select * into account from users where user_id = p_user_id;
    if not found then
        return query select 'NOT_FOUND', null::jsonb;
        return;
    end if;
    owned := locked_ownership_v1(account.owner_state);
    if owned is not null then
        return query select owned, case owned
            when 'DEPARTED' then jsonb_build_object('owner', account.forward_cell, 'epoch', account.forward_epoch)
            else jsonb_build_object('lease_ends_at', account.lease_ends_at) end;
        return;
    end if;
    select * into transfer from share_transfers where user_id = p_user_id and transfer_id = p_transfer_id;
    if not found then
        return query select 'TRANSFER_NOT_FOUND', null::jsonb;
        return;
    end if;
    if transfer.status <> 'pending' then
        return query select case when transfer.status = verdict then 'ALREADY' else 'TRANSFER_DECIDED' end,
            jsonb_build_object(
            'status', transfer.status, 'decided_at', transfer.decided_at, 'decided_by', transfer.decided_by, 'reason',
            transfer.reason);
        return;
    end if;
    select * into holding from positions where user_id = p_user_id and symbol = transfer.symbol;
    -- what gives back shares that are owed is no part of a position's cost
    basis := round_half_even_v1(transfer.unit_cost_micros
        * least(transfer.qty_micros, greatest(0, coalesce(holding.qty_micros, 0)::numeric + transfer.qty_micros)),
        1000000);
    if p_approve and (coalesce(holding.qty_micros, 0)::numeric + transfer.qty_micros > qty_max
                      or coalesce(holding.cost_basis_micros, 0)::numeric + basis > cost_max) then
        return query select 'BALANCE_LIMIT', null::jsonb;
        return;
    end if;

    recorded := next_time_v1(clock_v1(), account.recorded_at);
    update share_transfers
       set status = verdict, cost_basis_micros = case when p_approve then basis::bigint else cost_basis_micros end,
           decided_at = recorded, decided_by = p_actor, reason = p_reason, decided_write_seq = account.write_seq + 1
     where user_id = p_user_id and transfer_id = p_transfer_id;
    if p_approve then
        new_seq := account.entry_seq + 1;
        entry_hash := entry_hash_v1(
            account.chain_head, p_user_id, new_seq, p_transfer_id, 'share_transfer', null, recorded,
            posting_line_v1(1, 'transfer_agent', transfer.symbol, 'debit', transfer.qty_micros),
            posting_line_v1(2, 'shares', transfer.symbol, 'credit', transfer.qty_micros));
        insert into journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash)
        values (p_user_id, new_seq, p_transfer_id, 'share_transfer', null, recorded, account.chain_head, entry_hash);
        insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
        values (p_user_id, new_seq, 1, 'transfer_agent', transfer.symbol, 'debit', transfer.qty_micros),
               (p_user_id, new_seq, 2, 'shares', transfer.symbol, 'credit', transfer.qty_micros);
        insert into positions as p (user_id, symbol, qty_micros, cost_basis_micros)
        values (p_user_id, transfer.symbol, transfer.qty_micros, basis::bigint)
        on conflict (user_id, symbol) do update
           set qty_micros = p.qty_micros + excluded.qty_micros,
               cost_basis_micros = p.cost_basis_micros + excluded.cost_basis_micros;
        insert into outbox (user_id, write_seq, epoch, entry_seq, occurred_at)
        values (p_user_id, account.write_seq + 1, account.epoch, new_seq, recorded);
    end if;
    update users
       set recorded_at = recorded, write_seq = account.write_seq + 1, entry_seq = coalesce(new_seq, account.entry_seq),
           chain_head = coalesce(entry_hash, account.chain_head)
     where user_id = p_user_id;
    return query select 'decided', jsonb_build_object(
        'status', verdict, 'decided_at', recorded, 'decided_by', p_actor, 'reason', p_reason);
end $$;
