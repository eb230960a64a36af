-- Keep what one reconciliation found. The same record again changes nothing: an answer may have been lost. SQLSTATE
-- RB032: the run is recorded with other findings; the first record stands, and the caller must not believe that theirs
-- is kept.
-- Lock: none.
create or replace function record_reconciliation_v1(
    p_run_id uuid, p_started_at timestamptz, p_ended_at timestamptz, p_as_of timestamptz, p_actor text, p_verdict text,
    p_checks jsonb, p_totals jsonb, p_venue jsonb, p_events jsonb
) returns void
language plpgsql security definer
set search_path from current
as $$
begin
    insert into reconciliations (run_id, started_at, ended_at, as_of, actor, verdict, checks, totals, venue, events)
    values (p_run_id, p_started_at, p_ended_at, p_as_of, p_actor, p_verdict, p_checks, p_totals, p_venue, p_events)
    on conflict (run_id) do nothing;
    if not found and not exists (
        select from reconciliations r
         where r.run_id = p_run_id
           and (r.started_at, r.ended_at, r.as_of, r.actor, r.verdict, r.checks, r.totals, r.venue, r.events)
               is not distinct from (p_started_at, p_ended_at, p_as_of, p_actor, p_verdict, p_checks, p_totals, p_venue,
                                     p_events)
    ) then
        raise exception 'reconciliation % is recorded already, with other findings', p_run_id using errcode = 'RB032';
    end if;
end $$;
