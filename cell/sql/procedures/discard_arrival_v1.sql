-- An arrival is given up: its copy goes, and of a user who was here before the tombstone is as it was.
-- Outcome: `discarded`, also if the move does not bring the user here (any more); `ACTIVE`: the user is owned here.
-- Lock: the user's row.
create or replace function discard_arrival_v1(p_user_id uuid, p_move_id uuid) returns text
language plpgsql security definer
set search_path from current
as $$
declare
    former record;
begin
    perform from users where user_id = p_user_id for update;
    select a.former_epoch, a.former_forward_cell, a.former_forward_epoch, a.activated_at into former
      from arrivals a where a.user_id = p_user_id and a.move_id = p_move_id;
    if not found then
        return 'discarded';
    elsif former.activated_at is not null then
        return 'ACTIVE';
    end if;
    perform purge_copy_v1(p_user_id);
    if former.former_epoch is null then
        delete from users where user_id = p_user_id and owner_state = 'arriving' and operation_id = p_move_id;
    else
        update users
           set owner_state = 'departed', epoch = former.former_epoch, forward_cell = former.former_forward_cell,
               forward_epoch = former.former_forward_epoch, operation_id = null, purged_at = clock_v1()
         where user_id = p_user_id and owner_state = 'arriving' and operation_id = p_move_id;
    end if;
    delete from arrivals where user_id = p_user_id and move_id = p_move_id;
    return 'discarded';
end $$;
