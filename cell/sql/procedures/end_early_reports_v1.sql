-- Put reports aside for which it came too late, or never: the execution that they take back, or room in their order.
-- Visible, for a person, and never guessed. None before its time is over by the database's clock, whatever the caller
-- says.
-- Result: their inbox ids, orders and reasons. Lock: the rows themselves; what the application of reports has just now
-- is passed over.
create or replace function end_early_reports_v1(p_at timestamptz, p_limit integer)
returns table (inbox_id bigint, order_id uuid, reason text)
language sql security definer
set search_path from current
as $$
    with due as (
        delete from early_reports r using (
            select e.user_id, e.inbox_id from early_reports e
             where e.waits_until <= (select least(p_at, age_clock_v1())) order by e.waits_until limit p_limit
               for update skip locked) d
         where r.user_id = d.user_id and r.inbox_id = d.inbox_id
        returning r.*, case when r.room_qty_micros is not null then 'fill beyond the order''s quantity'
                            when r.room_cost_exact is not null then 'fill beyond the order''s amount'
                            else 'takes back an execution that never came' end as reason
    ),
    aside as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select reason, user_id, order_id, venue, session, venue_seq, body, p_at from due
    )
    select inbox_id, order_id, reason from due order by inbox_id
$$;
