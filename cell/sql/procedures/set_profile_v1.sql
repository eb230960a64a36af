-- Give a user another risk profile, and keep who did it and why: it lifts every limit but one, or puts them back.
-- Result: false if the user is not here, not owned, or halted (what is written during a move would be lost); then
-- nothing is recorded. Lock: the user's row.
create or replace function set_profile_v1(p_user_id uuid, p_profile text, p_actor text, p_reason text)
returns boolean language plpgsql security definer
set search_path from current
as $$
declare
    before text;
begin
    perform from users where user_id = p_user_id for no key update;
    select profile into before from users
     where user_id = p_user_id and ownership_v1(owner_state, lease_ends_at) is null;
    if before is null then
        return false;
    end if;
    update users set profile = p_profile, write_seq = write_seq + 1 where user_id = p_user_id;
    perform record_act_v1(p_actor, 'set_profile', p_user_id, p_reason,
                          jsonb_build_object('from', before, 'to', p_profile));
    return true;
end $$;
