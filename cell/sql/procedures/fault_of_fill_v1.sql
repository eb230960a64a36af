-- What is wrong with a reported fill itself, whatever else its order has (judge_reports_v1); null: nothing. p_is_known:
-- an execution of that name is there; p_is_same: with the same content. Inlined.
create or replace function fault_of_fill_v1(
    p_exec_id text, p_trade_date date, p_qty bigint, p_px bigint, p_is_known boolean, p_is_same boolean,
    p_order_qty bigint, p_notional bigint
) returns text
language sql immutable
as $$
    select case
        when p_exec_id is null or p_trade_date is null or p_qty <= 0 or p_px <= 0 then 'malformed fill'
        when p_is_known and p_is_same then null
        when p_is_known then 'exec id seen with other content'
        when p_qty > p_order_qty then 'fill beyond the order''s quantity'
        when p_qty::numeric * p_px > p_notional::numeric * 1000000 then 'fill beyond the order''s amount'
    end
$$;
