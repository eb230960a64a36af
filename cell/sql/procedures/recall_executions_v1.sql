-- Bring the executions of archived orders back to where reports are judged: a report speaks of one of them after all,
-- and must meet what is known (the same execution reported again, the one that it takes back). Rare. Entries and events
-- stay.
-- Not for callers outside: the procedure that applies reports locks the users first. As the service role it has no
-- right to write. Result: how many orders came back.
create or replace function recall_executions_v1(p_inbox_ids bigint[], p_locked uuid[]) returns integer
language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    recalled integer;
begin
    with named as materialized (
        select distinct o.user_id, o.order_id, o.archived_month
          from inbox i
          join orders o on o.user_id = i.user_id and o.order_id = i.order_id
         where i.id = any (p_inbox_ids) and i.user_id = any (p_locked) and o.archived_month is not null
    ),
    back as (
        delete from archive.executions x using named n
         where x.month = n.archived_month and x.user_id = n.user_id and x.order_id = n.order_id
        returning x.user_id, x.order_id, x.venue, x.session, x.trade_date, x.exec_id, x.fingerprint, x.symbol, x.side,
                  x.last_qty_micros, x.last_px_micros, x.cost_micros, x.basis_micros, x.entry_seq, x.at, x.kind,
                  x.ref_exec_id, x.ref_trade_date, x.qty_change_micros, x.basis_change_micros, x.settles_on,
                  x.owed_micros,
                  x.stands_qty_micros, x.stands_px_micros, x.recorded_at
    ),
    kept as (
        insert into executions (user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side,
            last_qty_micros, last_px_micros, cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id,
            ref_trade_date,
            qty_change_micros, basis_change_micros, settles_on, owed_micros, stands_qty_micros, stands_px_micros,
            recorded_at)
        select * from back
    ),
    -- a mover counts on the archive's standing still: the move has lost the user, and begins again
    left_by_movers as (
        update users u set operation_id = null
          from (select distinct user_id from named) n where u.user_id = n.user_id and u.operation_id is not null
    )
    update orders o set archived_month = null
      from named n where o.user_id = n.user_id and o.order_id = n.order_id;
    get diagnostics recalled = row_count;
    return recalled;
end $$;
