-- This database was restored: note the incarnation, and let nobody but the owner write until `open_cell_v1`.
-- Only the owner, before any process of the cell can connect. Repeating it is harmless. What may be written still: what
-- proves the books (reconciliations), what operators do, and which leader of the control plane was met.
-- If it was restored to a moment, what customers ended later would be alive again: all logins end here.
-- SQLSTATE 42501: somebody else than the owner calls. Lock: every table, for a moment.
create or replace function fence_cell_v1(
    p_incarnation_id uuid, p_backup text, p_restored_to timestamptz, p_actor text, p_reason text
) returns void language plpgsql security definer
set search_path from current
as $$
declare
    guarded record;
begin
    if not pg_has_role(session_user, (select nspowner from pg_namespace where nspname = 'brokerage'), 'usage') then
        raise exception 'only the owner says that a database was restored' using errcode = 'insufficient_privilege';
    end if;
    -- A backup of a fenced incarnation, restored: that one was never opened, and is past.
    update incarnations
       set opened_at = clock_v1(), opened_by = p_actor, opened_reason = 'restored again before it was opened'
     where opened_at is null and incarnation_id <> p_incarnation_id;
    insert into incarnations (incarnation_id, began_at, backup, restored_to, actor, reason)
    values (p_incarnation_id, clock_v1(), p_backup, p_restored_to, p_actor, p_reason)
    on conflict (incarnation_id) do nothing;
    if p_restored_to is not null then
        update refresh_families set ended_at = clock_v1() where ended_at is null;
    end if;
    for guarded in
        select n.nspname, c.relname
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('brokerage', 'archive') and c.relkind in ('r', 'p')
           and c.relname not in
               ('incarnations', 'reconciliations', 'ledger_checks', 'privileged_acts', 'control_leader')
         order by 1, 2
    loop
        execute format(
            'create or replace trigger cell_is_fenced before insert or update or delete or truncate on %I.%I'
            ' for each statement execute function brokerage.refuse_while_fenced()', guarded.nspname, guarded.relname);
    end loop;
end $$;
