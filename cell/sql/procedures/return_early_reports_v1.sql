-- Reports that came before the execution which they take back, and whose execution is here now: back to the inbox, to be
-- judged like any other, under their old ids, so before everything that came later.
-- Not for callers outside: apply_reports_v1 locks the users first. As the service role it has no right to write.
create or replace function brokerage.return_early_reports_v1(p_locked uuid[])
returns table (inbox_id bigint, user_id uuid)
language sql
set search_path = brokerage, pg_temp
as $$
    with due as (
        delete from early_reports r
         where r.user_id = any (p_locked)
           and exists (select from executions x
                        where x.user_id = r.user_id and x.order_id = r.order_id and x.venue = r.venue and x.session = r.session
                          and x.exec_id = r.ref_exec_id and x.trade_date <= r.trade_date)
        returning r.*
    )
    insert into inbox (id, venue, session, venue_seq, user_id, order_id, body, received_at) overriding system value
    select inbox_id, venue, session, venue_seq, user_id, order_id, body, received_at from due
    returning id, user_id
$$;
