-- Early reports for which it came what they waited for: back to the inbox, to be judged like any other, under their old
-- ids, so before everything that came later.
--
-- A row goes back when its execution is here; or there is room for it; or it needs none, because its bust or correction
-- waits here too; or there is nothing to wait for, because a copy of it was applied or something else took back what it
-- corrects. Each is the contrary of what the judging of apply_reports_v1 means by `early`. So nothing goes round for
-- ever: of one user a call judges one report at most, so what it has just put into early_reports was judged by what is
-- looked at here, and stays. A row goes back only after another report of its user was applied, which happens once to
-- each; or because its bust or correction began to wait. That one is still there when the row is judged, unless another
-- report was applied before (or its day was over), so the row leaves for good. It may have to wait again, no longer
-- than before in all: a correction, whose execution came, for room; a fill, because another one took the room.
-- Not for callers outside: apply_reports_v1 locks the users first. As the service role it has no right to write.
create or replace function return_early_reports_v1(p_locked uuid[])
returns table (inbox_id bigint, user_id uuid)
language sql
set search_path from current
as $$
    with due as (
        delete from early_reports r using orders o
         where r.user_id = any (p_locked) and o.user_id = r.user_id and o.order_id = r.order_id
           and (o.cum_qty_micros::numeric + r.room_qty_micros <= o.order_qty_micros
                or o.cum_cost_exact + r.room_cost_exact <= o.notional_micros::numeric * 1000000
                or num_nonnulls(r.room_qty_micros, r.room_cost_exact) > 0
                   and is_awaited_v1(r.user_id, r.order_id, r.venue, r.session, r.trade_date, r.body ->> 'exec_id')
                or exists (select from executions x
                            where x.user_id = r.user_id and x.order_id = r.order_id and x.venue = r.venue
                                and x.session = r.session
                              and x.trade_date = r.trade_date and x.exec_id = r.body ->> 'exec_id')
                -- what it takes back: to be here is enough, unless it waits for room; then that must have been taken
                -- back
                or (select num_nonnulls(r.room_qty_micros, r.room_cost_exact) = 0 or exists (
                               select from executions y
                                where y.user_id = x.user_id and y.order_id = x.order_id and y.venue = x.venue
                                  and y.session = x.session and y.ref_exec_id = x.exec_id
                                      and y.ref_trade_date = x.trade_date)
                      from executions x
                     where x.user_id = r.user_id and x.order_id = r.order_id and x.venue = r.venue
                         and x.session = r.session
                       and x.exec_id = r.ref_exec_id and x.trade_date <= r.trade_date
                     order by x.trade_date desc limit 1))
        returning r.*
    )
    insert into inbox (id, venue, session, venue_seq, user_id, order_id, body, received_at) overriding system value
    select inbox_id, venue, session, venue_seq, user_id, order_id, body, received_at from due
    returning id, user_id
$$;
