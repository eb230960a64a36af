-- Is there a regular session at this moment? From its open up to, and without, its close. No row, no session.
create or replace function market_is_open_v1(p_at timestamptz) returns boolean
language sql stable security definer
set search_path from current
as $$
    select coalesce((select opens_at <= p_at from market_sessions where closes_at > p_at order by closes_at limit 1),
                    false)
$$;
