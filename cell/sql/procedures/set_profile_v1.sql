-- Give a user another risk profile. Result: false if the user is not here or not owned. Lock: the user's row.
create or replace function brokerage.set_profile_v1(p_user_id uuid, p_profile text) returns boolean
language sql security definer
set search_path = brokerage, pg_temp
as $$
    with changed as (
        update users set profile = p_profile, write_seq = write_seq + 1
         where user_id = p_user_id and owner_state in ('active', 'halted') returning 1
    )
    select exists (select from changed)
$$;
