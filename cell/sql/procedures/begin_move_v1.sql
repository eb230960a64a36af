-- A move takes hold of a user who trades on: archive and prune leave the user's rows alone from here on. Repeating it
-- with the same move is harmless.
-- A mark of another move that has not departed is taken over: the control plane runs one move of a user at a time, and
-- knows when it gave one up.
-- Outcome: `begun`, `NOT_FOUND`, `DEPARTED`, `ARRIVING`, `EPOCH_TOO_LOW`,
-- `UNFINISHED` (figures: what; see unfinished_business_v1), `HALTED` (by something else than a move, and for good).
-- Lock: the user's row.
create or replace function begin_move_v1(
    p_user_id uuid, p_move_id uuid, p_to text, p_ownership_epoch bigint
) returns table (outcome text, figures jsonb) language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    mine record;
    unfinished jsonb;
begin
    perform lock_users_v1(array[p_user_id], true);
    select u.owner_state, u.epoch, u.operation_id, u.forward_cell, u.forward_epoch into mine
      from users u where u.user_id = p_user_id;
    if not found then
        return query select 'NOT_FOUND', '{}'::jsonb;
    elsif mine.owner_state = 'departed' then
        return query select 'DEPARTED', jsonb_build_object('owner', mine.forward_cell, 'epoch', mine.forward_epoch);
    elsif mine.owner_state = 'arriving' then
        return query select 'ARRIVING', jsonb_build_object('move_id', mine.operation_id);
    elsif mine.epoch >= p_ownership_epoch then
        return query select 'EPOCH_TOO_LOW', jsonb_build_object('epoch', mine.epoch);
    elsif mine.owner_state = 'halted' and mine.operation_id is null then
        return query select 'HALTED', '{}'::jsonb;
    else
        unfinished := unfinished_business_v1(p_user_id);
        if unfinished <> '{}' then
            return query select 'UNFINISHED', unfinished;
            return;
        end if;
        delete from departures d where d.user_id = p_user_id and d.departed_at is null and d.move_id <> p_move_id;
        insert into departures (user_id, ownership_epoch, move_id, to_cell, began_at)
        values (p_user_id, p_ownership_epoch, p_move_id, p_to, clock_v1())
        on conflict (user_id, ownership_epoch) do nothing;
        update users set operation_id = p_move_id where user_id = p_user_id and operation_id is distinct from p_move_id;
        return query select 'begun', '{}'::jsonb;
    end if;
end $$;
