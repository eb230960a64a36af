-- The user's writes stop, until the lease ends or the move lets go; what is in flight ends first, since a write holds
-- the user's row to its commit. The lease begins when the lock was got. Asked again with the same halt: the lease
-- begins anew. The move's own former halt is replaced: the mover who made it is gone.
-- Outcome: `halted` (figures: lease_ends_at), `MOVE_UNKNOWN` (this move does not have the user), `DEPARTED`,
-- `UNFINISHED`. Lock: the user's row.
create or replace function halt_user_v1(p_user_id uuid, p_move_id uuid, p_halt_id uuid, p_lease interval)
returns table (outcome text, figures jsonb) language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    mine record;
    unfinished jsonb;
    ends_at timestamptz;
begin
    perform lock_users_v1(array[p_user_id], true);
    select u.owner_state, u.operation_id into mine from users u where u.user_id = p_user_id;
    if mine.operation_id is distinct from p_move_id then
        return query select 'MOVE_UNKNOWN', '{}'::jsonb;
    elsif mine.owner_state = 'departed' then
        return query select 'DEPARTED', '{}'::jsonb;
    else
        unfinished := unfinished_business_v1(p_user_id);
        if unfinished <> '{}' then
            return query select 'UNFINISHED', unfinished;
            return;
        end if;
        ends_at := clock_v1() + p_lease;
        update users set owner_state = 'halted', halt_id = p_halt_id, lease_ends_at = ends_at
         where user_id = p_user_id;
        return query select 'halted', jsonb_build_object('lease_ends_at', ends_at);
    end if;
end $$;
