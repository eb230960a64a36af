-- Would a buy that holds p_required bring the user beyond the limit of their profile (null: none)? Counted are the
-- shares they have at p_px, what their open buys of the symbol hold, without p_released (of the order that this one
-- replaces), and p_required. If all their open buys together leave room, nobody needs to know which of them are of this
-- symbol.
create or replace function is_over_position_limit_v1(
    p_user_id uuid, p_symbol text, p_shares bigint, p_px bigint, p_cash_held bigint, p_released bigint,
    p_required numeric,
    p_position_max bigint
) returns boolean
language sql stable
return case
    when ceil(p_shares::numeric * p_px * 0.000001) + p_cash_held - p_released + p_required > p_position_max then
        ceil(p_shares::numeric * p_px * 0.000001) + held_by_buys_v1(p_user_id, p_symbol) - p_released
            + p_required
            > p_position_max
    else false
end;
