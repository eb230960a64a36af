-- The cash that a user's open buys of one symbol hold, for the position limit.
-- Called only where what all their open buys hold together could matter. Lock: none of its own; the caller has the
-- user's row.
create or replace function held_by_buys_v1(p_user_id uuid, p_symbol text) returns bigint
language sql stable
set search_path from current
as $$
    select coalesce(sum(o.held_cash_micros), 0)::bigint from orders o
     where o.user_id = p_user_id and o.is_open and o.symbol = p_symbol and o.held_cash_micros > 0
$$;
