-- The part of apply_reports_v1 for reports that only acknowledge an order: its venue id is noted and the submit is
-- answered. No event, no entry, no money. Half of all reports are of this kind, and they need none of what a fill
-- needs. Left alone, for the caller to judge: every other kind, an order nobody sent, a replacement that is pending
-- (for it the acknowledgement is the confirmation), a user who is not in p_locked, halted or gone, or who has an older
-- report.
-- Result: the inbox ids that were applied, never null. Called with the users' rows locked, after the locking statement.
create or replace function acknowledge_orders_v1(p_inbox_ids bigint[], p_locked uuid[]) returns bigint[]
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    locked_at constant timestamptz := clock_v1();
    acknowledged bigint[];
begin
    with acknowledging as materialized (
        select i.id, i.user_id, i.order_id, i.body ->> 'venue_order_id' as venue_order_id,
               u.write_seq + 1 as new_write_seq,
               next_time_v1(locked_at, u.recorded_at) as recorded_at,
               o.status in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed') as had_ended
          from inbox i
          join users u on u.user_id = i.user_id
          join orders o on o.user_id = i.user_id and o.order_id = i.order_id
         where i.id = any (p_inbox_ids) and i.body ->> 'kind' = 'accepted'
           and i.user_id = any (p_locked) and locked_ownership_v1(u.owner_state) is null
           and o.status not in ('queued', 'armed', 'funds_held')
           and not (o.status = 'pending_replace' and o.replaced_by is null)
           and not exists (select from inbox older where older.user_id = i.user_id and older.id < i.id)
    ),
    new_orders as (
        update orders o
           set venue_order_id = coalesce(o.venue_order_id, a.venue_order_id), write_seq = a.new_write_seq,
               updated_at = a.recorded_at
          from acknowledging a where o.user_id = a.user_id and o.order_id = a.order_id
    ),
    new_users as (
        update users u
           set recorded_at = a.recorded_at, write_seq = a.new_write_seq
          from acknowledging a where u.user_id = a.user_id
    ),
    done_instructions as (
        delete from venue_instructions i using acknowledging a
         where i.user_id = a.user_id and i.order_id = a.order_id
           and (a.had_ended or (i.action = 'submit' and i.sent_at is not null))
    ),
    done as (
        delete from inbox i using acknowledging a where i.id = a.id
    )
    select coalesce(array_agg(a.id), '{}') into acknowledged from acknowledging a;
    return acknowledged;
end $$;
