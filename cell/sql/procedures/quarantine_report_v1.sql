-- Put one inbox row aside that cannot be applied (its application failed every time): visible, and out of its user's
-- way.
-- Result: false if the row is gone. Lock: the inbox row.
create or replace function quarantine_report_v1(p_inbox_id bigint, p_reason text, p_at timestamptz)
    returns boolean
language sql security definer
set search_path from current
as $$
    with taken as (delete from inbox where id = p_inbox_id returning *),
    kept as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select p_reason, user_id, order_id, venue, session, venue_seq, body, p_at from taken
        returning 1
    )
    select exists (select from kept)
$$;
