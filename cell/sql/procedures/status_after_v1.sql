-- The status of an order after a report that was judged (settle_reports_v1). p_is_day_end: the cell had asked for the
-- cancel because the day was over; p_cum_qty and p_new_cum_qty: filled before and afterwards; p_reported: what the
-- venue calls the order's status, which alone says when an amount is used up. Inlined.
create or replace function status_after_v1(
    p_verdict text, p_kind text, p_status text, p_had_ended boolean, p_is_day_end boolean, p_cum_qty bigint,
    p_new_cum_qty bigint, p_order_qty bigint, p_notional bigint, p_reported text
) returns text
language sql immutable
as $$
    select case
        when p_verdict = 'end' then case when p_kind = 'cancelled' and p_is_day_end then 'expired' else p_kind end
        when p_verdict = 'supersede' then p_status
        when p_verdict = 'replace' then case p_status when 'pending_replace' then 'replaced' else p_status end
        when p_verdict = 'refuse' and p_status <> 'pending_replace' then p_status
        when p_verdict in ('restore', 'refuse') then case when p_cum_qty > 0 then 'partially_filled' else 'routed' end
        when p_new_cum_qty = p_order_qty then 'filled'
        when p_notional is not null and p_verdict in ('fill', 'revise') and p_kind <> 'bust'
             and (p_status = 'filled' or (p_kind = 'fill' and p_reported = 'filled')) then 'filled'
        when p_status = 'filled' then 'cancelled'
        when p_had_ended or p_status in ('pending_cancel', 'pending_replace') then p_status
        when p_new_cum_qty = 0 then 'routed'
        else 'partially_filled'
    end
$$;
