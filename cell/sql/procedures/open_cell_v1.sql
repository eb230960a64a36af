-- Open a fenced cell: a person has seen what the reconciliation since its restore found.
-- p_halted are users of whom Kafka or the venue knows more than these books do. They stay halted, without a lease: they
-- read, nothing is written for them, and so none of their numbers is given out a second time.
-- p_received is the highest of the venue's reports that the lost incarnation acknowledged: the venue has deleted those
-- and cannot send them again, so the session goes on behind them.
-- Outcome: `opened`, `ALREADY` (it is not fenced), `NOT_RECONCILED` (no reconciliation since the restore, or the last
-- one could not ask everybody), `FINDINGS` (it found something, and p_despite is not set). Figures: incarnation, run.
-- 55P03: a reader is in the way of a lock; try again. Lock: every table, for a moment; then the users by id.
create or replace function open_cell_v1(
    p_actor text, p_reason text, p_despite boolean, p_venue text, p_session text, p_received bigint, p_halted uuid[]
) returns table (outcome text, figures jsonb) language plpgsql security definer
set search_path from current
set lock_timeout = '5s'
as $$
declare
    fenced record;
    run record;
    guarded record;
    halted integer;
begin
    select i.incarnation_id, i.began_at into fenced from incarnations i where i.opened_at is null for update;
    if not found then
        return query select 'ALREADY', '{}'::jsonb;
        return;
    end if;
    select r.run_id, r.verdict, r.ended_at into run
      from reconciliations r where r.started_at >= fenced.began_at order by r.run_id desc limit 1;
    figures := jsonb_build_object(
        'incarnation_id', fenced.incarnation_id, 'run_id', run.run_id, 'verdict', run.verdict);
    if run.run_id is null or run.verdict = 'incomplete' then
        return query select 'NOT_RECONCILED', figures;
        return;
    elsif run.verdict <> 'equal' and not p_despite then
        return query select 'FINDINGS', figures;
        return;
    end if;
    for guarded in
        select n.nspname, c.relname
          from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
         where t.tgname = 'cell_is_fenced' order by 1, 2
    loop
        execute format('drop trigger cell_is_fenced on %I.%I', guarded.nspname, guarded.relname);
    end loop;
    perform from users where user_id = any (p_halted) order by user_id for no key update;
    update users set owner_state = 'halted', halt_id = fenced.incarnation_id, lease_ends_at = null
     where user_id = any (p_halted) and owner_state in ('active', 'halted');
    get diagnostics halted = row_count;
    insert into venue_sessions (venue, session, received_seq) values (p_venue, p_session, p_received)
    on conflict (venue, session) do update
       set received_seq = greatest(venue_sessions.received_seq, excluded.received_seq);
    update incarnations
       set opened_at = clock_v1(), opened_by = p_actor, opened_reason = p_reason, opened_run = run.run_id,
           despite = run.verdict <> 'equal', users_halted = halted
     where incarnation_id = fenced.incarnation_id;
    perform record_act_v1(p_actor, 'open_cell', null, p_reason, figures || jsonb_build_object('halted', halted));
    return query select 'opened', figures || jsonb_build_object('users_halted', halted);
end $$;
