-- Take the restriction off an account that owes nothing any more, and keep who did it and why.
--
-- Result, outcome:
--   lifted | NOT_RESTRICTED (nothing is written)
--   STILL_OWED   figures = {cash, shares: {symbol: free}}: what is below zero
--   NOT_FOUND | DEPARTED {owner, epoch} | USER_HALTED {lease_ends_at}
-- Lock: the user's row, then what it protects is read.
create or replace function lift_restriction_v1(p_user_id uuid, p_actor text, p_reason text)
returns table (outcome text, figures jsonb)
language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    account users;
    recorded timestamptz;
    owned text;
    owed_shares jsonb;
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
    select jsonb_object_agg(symbol, qty_micros - qty_held_micros) into owed_shares
      from positions where user_id = p_user_id and qty_micros < qty_held_micros;
    if account.cash_micros < 0 or owed_shares is not null then
        return query select 'STILL_OWED',
            jsonb_build_object('cash', account.cash_micros, 'shares', coalesce(owed_shares, '{}'));
        return;
    end if;
    if not account.restricted then
        return query select 'NOT_RESTRICTED', null::jsonb;
        return;
    end if;
    recorded := next_time_v1(clock_v1(), account.recorded_at);
    update users
       set restricted = false, recorded_at = recorded, write_seq = account.write_seq + 1
     where user_id = p_user_id;
    insert into lifted_restrictions (user_id, write_seq, actor, reason, at)
    values (p_user_id, account.write_seq + 1, p_actor, p_reason, recorded);
    return query select 'lifted', null::jsonb;
end $$;
