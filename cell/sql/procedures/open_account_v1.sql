-- Create a user and their personal record; idempotent by user id (the router may send it again after a crash).
-- Result: created_at and whether it was there before. SQLSTATEs: RB010 the user exists with another e-mail address.
-- The name and password of the first call stand. A departed user is not woken, one who is arriving not either: RB011.
create or replace function open_account_v1(
    p_user_id uuid, p_epoch bigint, p_profile text, p_email text, p_name text, p_password_hash text
) returns table (created_at timestamptz, existed boolean)
language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    opened_at constant timestamptz := clock_v1();
    found_email text;
    found_state text;
    found_at timestamptz;
begin
    insert into users (user_id, owner_state, epoch, profile, created_at, recorded_at)
    values (p_user_id, 'active', p_epoch, p_profile, opened_at, opened_at) on conflict (user_id) do nothing;
    if found then
        insert into customers (user_id, email, name, password_hash, created_at)
        values (p_user_id, p_email, p_name, p_password_hash, opened_at);
        return query select opened_at, false;
        return;
    end if;
    select u.owner_state, u.created_at, c.email into found_state, found_at, found_email
      from users u left join customers c using (user_id) where u.user_id = p_user_id;
    if found_state in ('departed', 'arriving') then
        raise exception 'the user left this cell' using errcode = 'RB011';
    end if;
    if found_email is distinct from p_email then
        raise exception 'the user exists with another e-mail address' using errcode = 'RB010';
    end if;
    return query select found_at, true;
end $$;
