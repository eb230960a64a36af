-- Whether a bust or a correction of this execution is known, and waits for it: then an execution that has no room in
-- its order is superseded by it (judge_reports_v1). One that bears the same name is none: it will be judged as that
-- execution's copy.
create or replace function is_awaited_v1(
    p_user_id uuid, p_order_id uuid, p_venue text, p_session text, p_trade_date date, p_exec_id text
) returns boolean
language sql stable
set search_path from current
as $$
    select exists (select from early_reports e
                    where e.user_id = p_user_id and e.order_id = p_order_id and e.venue = p_venue
                        and e.session = p_session
                      and e.ref_exec_id = p_exec_id and e.trade_date >= p_trade_date
                      and num_nonnulls(e.room_qty_micros, e.room_cost_exact) = 0
                      and (e.body ->> 'exec_id' <> p_exec_id or e.trade_date <> p_trade_date))
$$;
