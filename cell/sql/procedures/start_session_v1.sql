-- Begin a family of refresh tokens after a password was verified.
create or replace function brokerage.start_session_v1(
    p_user_id uuid, p_family_id uuid, p_hash bytea, p_at timestamptz, p_expires_at timestamptz
) returns void language sql security definer
set search_path = brokerage, pg_temp
as $$
    insert into refresh_families (user_id, family_id, current_hash, created_at, expires_at)
    values (p_user_id, p_family_id, p_hash, p_at, p_expires_at)
$$;
