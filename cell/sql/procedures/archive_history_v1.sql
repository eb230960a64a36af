-- Move one user's old history out of the way, verbatim, a bounded step: of their entries after p_after_seq the next
-- p_limit are looked at, and those go to the archive (with their postings) that belong to an order which ended before
-- p_before, or to no order and are older. With an order's first entry go its events and executions. Nothing is changed,
-- nothing is forgotten: balances, chain and checks are over both places. Harmless to repeat. Whatever the caller says,
-- nothing goes that is younger than seven days: busts and corrections of a trade come within days.
--
-- Result: state
--   archived     last_seq is where the next step goes on, null: there is nothing more that old
--   deferred     another writer has the user, or they are halted, moving or not here: try again later
--   unpublished  events that old still wait for Kafka, and are read from where they are: publish first
-- and how many entries, postings, events and executions moved. Lock: the user's row; then everything is read again.
create or replace function archive_history_v1(
    p_user_id uuid, p_before timestamptz, p_after_seq bigint, p_limit integer
) returns table (state text, last_seq bigint, entries bigint, postings bigint, events bigint, executions bigint)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    old_rows_max constant integer := 10000;   -- some milliseconds
    window_end bigint;
    old_seqs bigint[];
    old_months date[];
    old_orders uuid[];
    order_months date[];
    moved_postings bigint := 0;
    moved_events bigint := 0;
    moved_executions bigint := 0;
begin
    p_before := least(p_before, age_clock_v1() - interval '7 days');
    if p_user_id <> all (lock_users_v1(array[p_user_id], false))
       or (select coalesce(locked_ownership_v1(u.owner_state), case when u.operation_id is not null then 'IN_MOVE' end)
             from users u where u.user_id = p_user_id) is not null
           then
        return query select 'deferred', p_after_seq, 0::bigint, 0::bigint, 0::bigint, 0::bigint;
        return;
    end if;
    -- The oldest rows come first, but for clocks that differ by seconds. Usually there is none that old. If there is,
    -- it may be another user's, which Kafka refuses: so many rows are looked through for one of this user's; if there
    -- are more, Kafka is away.
    if (select b.occurred_at from outbox b order by b.id limit 1) < p_before + interval '10 minutes'
       and (exists (select from (select b.user_id, b.occurred_at from outbox b order by b.id limit old_rows_max) o
                     where o.user_id = p_user_id and o.occurred_at < p_before + interval '10 minutes')
            or (select b.occurred_at from outbox b order by b.id offset old_rows_max limit 1) < p_before
                + interval '10 minutes') then
        return query select 'unpublished', null::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint;
        return;
    end if;

    select max(w.seq),
           array_agg(w.seq order by w.seq) filter (where w.is_old),
           array_agg(w.month order by w.seq) filter (where w.is_old),
           array_agg(distinct w.order_id) filter (where w.is_old and w.archived_month is null
                                                  and w.order_id is not null)
      into window_end, old_seqs, old_months, old_orders
      from (
        select e.seq, e.order_id, o.archived_month,
               date_trunc('month', e.occurred_at at time zone 'UTC')::date as month,
               case when e.order_id is null then e.occurred_at < p_before
                    else not o.is_open and o.updated_at < p_before end as is_old
          from (select j.seq, j.order_id, j.occurred_at from journal_entries j
                 where j.user_id = p_user_id and j.seq > p_after_seq order by j.seq limit p_limit) e
          left join orders o on o.user_id = p_user_id and o.order_id = e.order_id
         where e.occurred_at < p_before
      ) w;
    if old_seqs is null then
        return query select 'archived', window_end, 0::bigint, 0::bigint, 0::bigint, 0::bigint;
        return;
    end if;

    select array_agg(date_trunc('month', o.updated_at at time zone 'UTC')::date order by n.place) into order_months
      from unnest(old_orders) with ordinality as n (order_id, place)
      join orders o on o.user_id = p_user_id and o.order_id = n.order_id;
    perform ensure_archive_month_v1(m.month) from (
        select distinct month from unnest(old_months || coalesce(order_months, '{}')) as u (month)) m;

    with old as (select * from unnest(old_seqs, old_months) as o (seq, month)),
    gone as (
        delete from postings p using old o where p.user_id = p_user_id and p.entry_seq = o.seq
        returning p.user_id, p.entry_seq, p.line, p.account, p.unit, p.direction, p.amount_micros, o.month
    ),
    kept as (
        insert into archive.postings (user_id, entry_seq, line, account, unit, direction, amount_micros, month)
        select * from gone returning 1
    )
    select count(*) into moved_postings from kept;
    with old as (select * from unnest(old_seqs, old_months) as o (seq, month)),
    gone as (
        delete from journal_entries e using old o where e.user_id = p_user_id and e.seq = o.seq
        returning e.user_id, e.seq, e.entry_id, e.kind, e.order_id, e.occurred_at, e.previous_hash, e.hash, o.month
    )
    insert into archive.journal_entries (user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash,
                                         month)
    select * from gone;

    if old_orders is not null then
        with old as (select * from unnest(old_orders, order_months) as o (order_id, month)),
        gone as (
            delete from order_events e using old o where e.user_id = p_user_id and e.order_id = o.order_id
            returning e.user_id, e.order_id, e.seq, e.stream_seq, e.from_status, e.to_status, e.reason, e.at, e.exec_id,
                      e.last_qty_micros, e.last_px_micros, e.cum_qty_micros, e.cum_cost_micros, e.order_qty_micros,
                      o.month
        ),
        kept as (
            insert into archive.order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                                              exec_id,
                last_qty_micros, last_px_micros, cum_qty_micros, cum_cost_micros, order_qty_micros, month)
            select * from gone returning 1
        )
        select count(*) into moved_events from kept;
        with old as (select * from unnest(old_orders, order_months) as o (order_id, month)),
        gone as (
            delete from executions x using old o where x.user_id = p_user_id and x.order_id = o.order_id
            returning x.user_id, x.order_id, x.venue, x.session, x.trade_date, x.exec_id, x.fingerprint, x.symbol,
                x.side,
                      x.last_qty_micros, x.last_px_micros, x.cost_micros, x.basis_micros, x.entry_seq, x.at, x.kind,
                      x.ref_exec_id, x.ref_trade_date, x.qty_change_micros, x.basis_change_micros, x.settles_on,
                      x.owed_micros,
                      x.stands_qty_micros, x.stands_px_micros, x.recorded_at, o.month
        ),
        kept as (
            insert into archive.executions (user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol,
                                            side,
                last_qty_micros, last_px_micros, cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id,
                ref_trade_date,
                qty_change_micros, basis_change_micros, settles_on, owed_micros, stands_qty_micros, stands_px_micros,
                recorded_at, month)
            select * from gone returning 1
        )
        select count(*) into moved_executions from kept;
        update orders o set archived_month = n.month
          from unnest(old_orders, order_months) as n (order_id, month)
         where o.user_id = p_user_id and o.order_id = n.order_id;
    end if;
    -- who copies the user meanwhile must see that rows went elsewhere
    update users u set write_seq = u.write_seq + 1
     where u.user_id = p_user_id;
    return query select 'archived', window_end, cardinality(old_seqs)::bigint, moved_postings, moved_events,
        moved_executions;
end $$;
