-- A user may be moved again; why stands in the audit chain. Result: was there a hold? SQLSTATE: none of ours. Lock: the
-- user's row.
create or replace function unhold_user_v1(p_user_id uuid) returns boolean
language plpgsql security definer set search_path from current as $$
begin
    delete from held_users where user_id = p_user_id;
    return found;
end $$;
revoke all on function unhold_user_v1 from public;
