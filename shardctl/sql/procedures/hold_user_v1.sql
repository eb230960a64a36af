-- A user may not be moved until somebody says otherwise. Who holds first stays; a move that has begun goes on.
-- Result: is it new? SQLSTATE: none of ours. Lock: the user's row.
create or replace function hold_user_v1(p_user_id uuid, p_actor text, p_reason text) returns boolean
language plpgsql security definer set search_path from current as $$
begin
    insert into held_users (user_id, actor, reason, held_at) values (p_user_id, p_actor, p_reason, clock_v1())
    on conflict do nothing;
    return found;
end $$;
revoke all on function hold_user_v1 from public;
