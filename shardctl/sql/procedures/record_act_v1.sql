-- Record one half of a privileged act: its beginning (`p_completes` null), or the outcome of one that has begun.
-- The time is the database's, so two operators' acts are in order whatever their machines' clocks say.
-- Result: the number of the new row; null if there is no such act, or its outcome is recorded already. Lock: none.
create or replace function record_act_v1(
    p_completes bigint, p_actor text, p_act text, p_target text, p_reason text, p_arguments jsonb,
    p_outcome text, p_detail text
) returns bigint language sql security definer set search_path from current as $$
    insert into privileged_acts (completes, at, actor, act, target, reason, arguments, outcome, detail)
    select p_completes, clock_v1(), p_actor, p_act, p_target, p_reason, p_arguments, p_outcome, p_detail
    where p_completes is null
        or exists (select from privileged_acts b where b.entry_id = p_completes and b.completes is null)
    on conflict (completes) do nothing
    returning entry_id
$$;
revoke all on function record_act_v1 from public;
grant execute on function record_act_v1 to control_leader;
