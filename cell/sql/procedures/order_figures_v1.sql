-- An order's row as the figures that are answered and kept under the key of a cancel or a replacement. The fields are
-- named: a column that another release has added is not in what this release writes. A function of one expression, as
-- text: the planner puts it into the calling statement, and nothing holds the columns.
create or replace function order_figures_v1(placed brokerage.orders) returns jsonb
language sql stable parallel safe
as $$
    select jsonb_build_object(
        'user_id', placed.user_id, 'order_id', placed.order_id, 'client_order_id', placed.client_order_id,
        'symbol', placed.symbol, 'side', placed.side, 'type', placed.type, 'time_in_force', placed.time_in_force,
        'order_qty_micros', placed.order_qty_micros, 'notional_micros', placed.notional_micros,
        'limit_px_micros', placed.limit_px_micros, 'stop_px_micros', placed.stop_px_micros,
        'hold_px_micros', placed.hold_px_micros, 'status', placed.status, 'cum_qty_micros', placed.cum_qty_micros,
        'cum_cost_exact', placed.cum_cost_exact, 'cum_cost_micros', placed.cum_cost_micros,
        'held_cash_micros', placed.held_cash_micros, 'held_shares_micros', placed.held_shares_micros,
        'reject_reason', placed.reject_reason, 'replaces', placed.replaces, 'replaced_by', placed.replaced_by,
        'venue_order_id', placed.venue_order_id, 'event_seq', placed.event_seq, 'write_seq', placed.write_seq,
        'created_at', placed.created_at, 'updated_at', placed.updated_at,
        'replace_qty_micros', placed.replace_qty_micros, 'expires_at', placed.expires_at, 'is_open', placed.is_open,
        'archived_month', placed.archived_month)
$$;
