-- Give a user another risk profile. Result: false if the user is not here, not owned, or halted (what is written during a
-- move would be lost). Lock: the user's row.
create or replace function brokerage.set_profile_v1(p_user_id uuid, p_profile text) returns boolean
language sql security definer
set search_path = brokerage, pg_temp
as $$
    with changed as (
        update users set profile = p_profile, write_seq = write_seq + 1
         where user_id = p_user_id and ownership_v1(owner_state, lease_ends_at) is null returning 1
    )
    select exists (select from changed)
$$;
