-- Apply committed reports from the inbox, at most one per user per call (a user's oldest; the rest answer `deferred`).
-- Execution, order, event, ledger entry, balances, position, outbox row and the inbox row's end: one transaction.
-- In steps: lock the users; acknowledge_orders_v1 takes what only acknowledges an order (half of all reports; then a
-- user's next one may follow in the same call); judge_reports_v1 says what is to be done with each of the rest,
-- settle_reports_v1 what it changes, write_reports_v1 writes it; then each report leaves the inbox or stays.
--
-- Result per inbox id, outcome:
--   applied | duplicate (nothing new in it) | quarantined (see quarantined_reports, `reason` says why)
--   early    it waits in early_reports, `reason` says for what: a bust or a correction for an execution that nobody has
--            reported yet; a fill or a correction that is beyond the order for something else to be taken back, which
--            may have come first at the venue (one that is larger than the whole order waits for nothing: there can be
--            no room, ever).
--            What has no room, and for which its own bust or correction waits already, is superseded: it is recorded as
--            reported, counts for nothing (a correction: for what it takes back) and is `applied`. Its bust or
--            correction is judged next, takes back no more than that, and a correction of nothing is posted, and needs
--            room, as a fill does.
--   returned  a row more than was asked for: this report was early, and is in the inbox again, because what it waited
--            for came with this call (return_early_reports_v1); of which user, `user_id` says
--   deferred the user is locked by another writer, halted or gone, or has an older report: the row stays in the inbox.
--            Also the first answer to a report that shows a replacement to be live which nobody confirmed: the
--            confirmation is applied, the report itself by the next call
-- Reality is never refused: a late fill posts after an end, cash or shares may become negative, the user `restricted`.
-- Replacements: the report names the new order; the old one ends and gives its hold back, the new one takes its own.
-- Busts and corrections: an execution row and an entry of their own, never an edit. The order's filled quantity and
-- cost become what the venue says; what is taken back is open again while the order is, and then held again.
-- Lock order: users by id.
create or replace function apply_reports_v1(p_inbox_ids bigint[], p_settles_on date)
returns table (inbox_id bigint, outcome text, reason text, user_id uuid, order_id uuid)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := lock_users_v1(
        array(select i.user_id from inbox i where i.id = any (p_inbox_ids) and i.user_id is not null), false);
    acknowledged constant bigint[] := acknowledge_orders_v1(p_inbox_ids, locked);   -- they are in the inbox no more
    locked_at constant timestamptz := clock_v1();
    -- how long an execution may be late: what a venue has not reported by the next day's session, it will not by itself
    early_max constant interval := '1 day';
    judged judged_report[];
    settled settled_report[];
begin
    return query select a.id, 'applied', null, null::uuid, null::uuid from unnest(acknowledged) a (id);
    -- what is left may all be of users whom other writers have: nothing to judge then
    if not exists (select from inbox i
                   where i.id = any (p_inbox_ids) and (i.user_id is null or i.user_id = any (locked))) then
        return query select i.id, 'deferred', null, null::uuid, null::uuid from inbox i where i.id = any (p_inbox_ids);
        return;
    end if;
    -- an order whose history is archived already: what is known of it must be met here
    if exists (select from inbox i join orders o on o.user_id = i.user_id and o.order_id = i.order_id
                where i.id = any (p_inbox_ids) and o.archived_month is not null) then
        perform recall_executions_v1(p_inbox_ids, locked);
    end if;

    judged := array(select j from judge_reports_v1(p_inbox_ids, locked, locked_at) j);
    settled := array(select s from settle_reports_v1(judged, p_settles_on) s);
    if settled <> '{}' then
        perform write_reports_v1(settled);
    end if;

    return query
    with judged_rows as materialized (select j.* from unnest(judged) j),
    quarantined as (
        insert into quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)
        select fault, user_id, named_order_id, venue, session, venue_seq, body, locked_at
          from judged_rows where verdict = 'quarantined'
    ),
    early as (   -- the room that it waits for, if it does: in shares, or of an order by amount in exact cost
        insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                   room_qty_micros, room_cost_exact, body, received_at, waits_until)
        select j.user_id, j.inbox_id, j.named_order_id, j.venue, j.session, j.venue_seq, j.trade_date,
               case when j.kind <> 'fill' then j.ref_exec_id end,
               case when (j.kind = 'fill' or j.taken_exec_id is not null) and j.order_qty_micros is not null
                    then j.reported_qty - coalesce(j.taken_qty, 0) end,
               case when (j.kind = 'fill' or j.taken_exec_id is not null) and j.order_qty_micros is null
                    then least(j.reported_qty::numeric * j.reported_px, j.notional_micros::numeric * 1000000) end,
               j.body, i.received_at, i.received_at + early_max
          from judged_rows j join inbox i on i.id = j.inbox_id where j.verdict = 'early'
        returning inbox_id, waits_for
    ),
    done as (
        delete from inbox i using judged_rows j
         where i.id = j.inbox_id and j.verdict <> 'deferred' and not (j.verdict = 'replace' and j.kind <> 'replaced')
    )
    select j.inbox_id,
           case when j.verdict in ('quarantined', 'deferred', 'duplicate', 'early') then j.verdict
                when j.verdict = 'replace' and j.kind <> 'replaced' then 'deferred'
                else 'applied' end,
           case j.verdict when 'quarantined' then j.fault when 'early' then 'waits for ' || e.waits_for end,
           j.user_id, j.named_order_id
      from judged_rows j
      left join early e on e.inbox_id = j.inbox_id;

    if exists (select from early_reports) then   -- hardly ever
        return query select b.inbox_id, 'returned', null, b.user_id, null::uuid from return_early_reports_v1(locked) b;
    end if;
end $$;
