-- The move lets go of a user who has not left: they trade on, as if it had never been.
-- Outcome: `released`, also if the move does not have the user (any more); `DEPARTED`: it is too late, go forward.
-- Lock: the user's row.
create or replace function release_move_v1(p_user_id uuid, p_move_id uuid) returns text
language plpgsql security definer
set search_path from current
as $$
begin
    perform from users where user_id = p_user_id for no key update;
    if exists (select from departures d where d.user_id = p_user_id and d.move_id = p_move_id
                  and d.departed_at is not null) then
        return 'DEPARTED';
    end if;
    delete from departures where user_id = p_user_id and move_id = p_move_id;
    update users
       set operation_id = null,
           owner_state = case when owner_state = 'halted' then 'active' else owner_state end,
           halt_id = null, lease_ends_at = null
     where user_id = p_user_id and operation_id = p_move_id and owner_state in ('active', 'halted');
    return 'released';
end $$;
