-- A copy of a user begins here; it owns nothing until its certificate comes. Of a user who was here before, the copy
-- that was kept goes first, and the tombstone is remembered, for a return that is aborted.
-- Until then it sends everybody to the source, with a hint below its own ownership epoch: whoever comes with that
-- epoch has been sent here by the source, and waits.
-- Outcome: `arriving` (also again), `OWNED` (the user is active here), `EPOCH_TOO_LOW` (this cell knows a newer owner),
-- `ARRIVING` (another move brings the user; figures: which). Lock: the user's row.
create or replace function arrive_v1(
    p_user_id uuid, p_move_id uuid, p_from text, p_ownership_epoch bigint
) returns table (outcome text, figures jsonb) language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    mine record;
begin
    insert into users (user_id, owner_state, epoch, operation_id, forward_cell, forward_epoch, profile, created_at)
    values (p_user_id, 'arriving', p_ownership_epoch, p_move_id, p_from, p_ownership_epoch - 1, 'retail', clock_v1())
    on conflict (user_id) do nothing;
    if found then
        insert into arrivals (user_id, ownership_epoch, move_id, from_cell, began_at)
        values (p_user_id, p_ownership_epoch, p_move_id, p_from, clock_v1());
        return query select 'arriving', '{}'::jsonb;
        return;
    end if;
    select u.owner_state, u.epoch, u.operation_id, u.forward_cell, u.forward_epoch into mine
      from users u where u.user_id = p_user_id for no key update;
    if mine.owner_state = 'arriving' and mine.operation_id = p_move_id then
        return query select 'arriving', '{}'::jsonb;
    elsif mine.owner_state = 'arriving' then
        return query select 'ARRIVING', jsonb_build_object('move_id', mine.operation_id);
    elsif mine.owner_state <> 'departed' then
        return query select 'OWNED', jsonb_build_object('epoch', mine.epoch);
    elsif greatest(mine.epoch, mine.forward_epoch) >= p_ownership_epoch then
        return query select 'EPOCH_TOO_LOW', jsonb_build_object('epoch', greatest(mine.epoch, mine.forward_epoch));
    else
        perform purge_copy_v1(p_user_id);
        update users
           set owner_state = 'arriving', epoch = p_ownership_epoch, operation_id = p_move_id, forward_cell = p_from,
               forward_epoch = p_ownership_epoch - 1, purged_at = null
         where user_id = p_user_id;
        insert into arrivals (user_id, ownership_epoch, move_id, from_cell, began_at, former_epoch,
                              former_forward_cell, former_forward_epoch)
        values (p_user_id, p_ownership_epoch, p_move_id, p_from, clock_v1(), mine.epoch,
                mine.forward_cell, mine.forward_epoch);
        return query select 'arriving', '{}'::jsonb;
    end if;
end $$;
