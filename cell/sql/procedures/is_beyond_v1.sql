-- Whether so many shares more, of this exact cost, are more than is left of an order for a quantity or for an amount
-- (the other one is null, and so is the answer while that is all there is to say). Costs in 1e-12 dollars. Inlined.
create or replace function is_beyond_v1(
    p_order_qty bigint, p_notional bigint, p_cum_qty numeric, p_cum_cost numeric, p_qty bigint, p_cost numeric
) returns boolean
language sql immutable
as $$
    select p_cum_qty + p_qty > p_order_qty or p_cum_cost + p_cost > p_notional::numeric * 1000000
$$;
