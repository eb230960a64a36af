-- Keep what one reconciliation found. Repeating it is harmless: the first record of a run stands. Lock: none.
create or replace function brokerage.record_reconciliation_v1(
    p_run_id uuid, p_started_at timestamptz, p_ended_at timestamptz, p_as_of timestamptz, p_actor text, p_verdict text,
    p_checks jsonb, p_totals jsonb, p_venue jsonb, p_events jsonb
) returns void language sql security definer
set search_path = brokerage, pg_temp
as $$
    insert into reconciliations (run_id, started_at, ended_at, as_of, actor, verdict, checks, totals, venue, events)
    values (p_run_id, p_started_at, p_ended_at, p_as_of, p_actor, p_verdict, p_checks, p_totals, p_venue, p_events)
    on conflict (run_id) do nothing
$$;
