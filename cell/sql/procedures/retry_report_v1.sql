-- Put a quarantined report back into the inbox, to be judged like any other: behind what its user has waiting there,
-- before what comes later. What it says is not changed; whose order it names is looked up again; the time for which it
-- may wait for something else begins anew. Kept: who did it and why.
-- Result: the inbox id and the order; no row if the quarantine does not hold it (any more). Lock: the quarantined row.
create or replace function retry_report_v1(p_id bigint, p_actor text, p_reason text, p_at timestamptz)
returns table (inbox_id bigint, order_id uuid)
language sql security definer
set search_path from current
as $$
    with taken as (delete from quarantined_reports where id = p_id returning *),
    found as (
        select t.*, o.user_id as owner
          from taken t
            left join lateral (select x.user_id from orders x where x.order_id = t.order_id limit 1) o on true
    ),
    back as (
        insert into inbox (venue, session, venue_seq, user_id, order_id, body, received_at)
        select venue, session, venue_seq, owner, order_id, body, p_at from found
        returning id, user_id, order_id
    ),
    noted as (
        insert into retried_reports
               (quarantine_id, inbox_id, user_id, order_id, venue, session, venue_seq, was_aside_for, actor, reason, at)
        select f.id, b.id, b.user_id, b.order_id, f.venue, f.session, f.venue_seq, f.reason, p_actor, p_reason, p_at
          from found f cross join back b
    )
    select id, order_id from back
$$;
