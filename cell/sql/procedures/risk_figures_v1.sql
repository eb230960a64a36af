-- The figures that explain a refusal by the user's risk profile, read again from what the refusing statement saw (its
-- own snapshot), so that orders that pass carry none of them. p_required: what the order would hold; p_released: what
-- the order that it replaces holds and would give back; p_worth: what it counts as in the rate limit.
create or replace function risk_figures_v1(
    p_outcome text, p_user_id uuid, p_symbol text, p_limit_px bigint, p_stop_px bigint,
    p_required numeric, p_released bigint, p_worth numeric, p_at timestamptz
) returns jsonb
language sql stable
set search_path from current
as $$
    select case p_outcome
        when 'PRICE_OUT_OF_BAND' then jsonb_build_object(
            'field', case
                          when is_out_of_band_v1(p_limit_px, s.reference_px_micros, l.price_band_bps,
                                                 s.venue_low_px_micros,
                                                 s.venue_high_px_micros) then 'limit_price' else 'stop_price' end,
            'reference_price', s.reference_px_micros,
            'reference_at', to_char(s.reference_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'band_pct', trim_scale(l.price_band_bps * 0.01),
            'lowest', least(ceil(s.reference_px_micros::numeric * (10000 - l.price_band_bps) / 10000),
                            s.venue_low_px_micros)::bigint,
            'highest', greatest(div(s.reference_px_micros::numeric * (10000 + l.price_band_bps), 10000),
                                s.venue_high_px_micros)::bigint)
        when 'POSITION_LIMIT' then jsonb_build_object(
            'limit', l.position_max_micros, 'required', p_required::bigint,
            'current', (ceil(coalesce(p.qty_micros, 0)::numeric * coalesce(s.reference_px_micros, p_limit_px,
                    p_stop_px) * 0.000001)
                        + held_by_buys_v1(p_user_id, p_symbol) - p_released)::bigint)
        else case
            when n.in_second >= l.orders_per_second_max then jsonb_build_object(
                'unit', 'orders', 'window_s', 1, 'limit', l.orders_per_second_max, 'current', n.in_second)
            when n.in_minute >= l.orders_per_minute_max then jsonb_build_object(
                'unit', 'orders', 'window_s', 60, 'limit', l.orders_per_minute_max, 'current', n.in_minute)
            else jsonb_build_object(
                'unit', 'USD', 'window_s', 60, 'limit', l.value_per_minute_max_micros, 'current',
                n.value_in_minute::bigint,
                'required', p_worth::bigint)
        end
    end
      from users u
      join risk_profiles l on l.profile = u.profile
      left join symbols s on s.symbol = p_symbol
      left join positions p on p.user_id = p_user_id and p.symbol = p_symbol
     cross join lateral recent_orders_v1(u.recent_order_ats, u.recent_order_values, p_at) n
     where u.user_id = p_user_id
$$;
