-- Note that every day order of the session that closed at p_closes_at has ended: nobody looks for them again. Repeating
-- it changes nothing. SQLSTATE RB030: p_at is before the close, or a day order of the session is still open, which
-- would keep its hold for good. Lock: the session's row.
create or replace function end_session_v1(p_closes_at timestamptz, p_at timestamptz) returns void
language plpgsql security definer
set search_path from current
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    open_order uuid;
begin
    if p_at < p_closes_at then
        raise exception 'the session ends at %, it is %', p_closes_at, p_at using errcode = 'RB030';
    end if;
    select o.order_id into open_order from orders o where o.expires_at = p_closes_at and o.is_open limit 1;
    if found then
        raise exception 'order % of the session that closed at % is still open', open_order,
        p_closes_at using errcode = 'RB030';
    end if;
    update market_sessions set expired_at = p_at where closes_at = p_closes_at and expired_at is null;
end $$;
