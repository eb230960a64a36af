-- Put reports aside whose execution did not come in time: visible, for a person, and never guessed.
-- Result: their inbox ids. Lock: the rows themselves; what the application of reports has just now is passed over.
create or replace function brokerage.end_early_reports_v1(p_at timestamptz, p_limit integer)
returns table (inbox_id bigint, order_id uuid)
language sql security definer
set search_path = brokerage, pg_temp
as $$
    with due as (
        delete from early_reports r using (
            select e.user_id, e.inbox_id from early_reports e
             where e.waits_until <= p_at order by e.waits_until limit p_limit for update skip locked) d
         where r.user_id = d.user_id and r.inbox_id = d.inbox_id
        returning r.*
    ),
    aside as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select 'takes back an execution that never came', user_id, order_id, venue, session, venue_seq, body, p_at from due
    )
    select inbox_id, order_id from due order by inbox_id
$$;
