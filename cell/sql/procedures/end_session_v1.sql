-- Every day order of the session that closed at p_closes_at has ended: nobody looks at them again. Lock: the session's row.
create or replace function brokerage.end_session_v1(p_closes_at timestamptz, p_at timestamptz) returns void
language sql security definer
set search_path = brokerage, pg_temp
as $$
    update market_sessions set expired_at = p_at where closes_at = p_closes_at and expired_at is null
$$;
