-- Ask that an operation be cancelled. One that has not begun ends at once; one that runs is undone by the leader at the
-- next step's boundary; one that has failed is undone now. Harmless to repeat. p_attempt: the row of the audit chain
-- that asks for it; if a failed operation is undone, its end is the outcome of that row.
-- Result: the state it is in now (null: there is none), and whether it goes on by this call. SQLSTATE RBC13: it has
-- ended; RBC15: a step that cannot be undone has begun; RBC12: it has failed, and another excludes that it is undone
-- now; RBC17: the attempt's outcome is recorded already. Lock: control.operations against creators and resumers, the
-- operation's row.
create or replace function cancel_operation_v1(
    p_operation bigint, p_attempt bigint, p_actor text, p_reason text, p_excludes jsonb
) returns table (state text, goes_on boolean) language plpgsql security definer set search_path from current as $$
declare
    held operations;
    is_undone_now boolean := false;
begin
    lock table operations in share row exclusive mode;
    perform refuse_ended_v1(p_attempt);
    select * into held from operations where operation_id = p_operation for update;
    if not found then
        return query select null::text, false;
        return;
    end if;
    if held.state = 'cancelled' or held.cancel_asked_by is not null then
        return query select held.state, false;
        return;
    end if;
    if exists (select from operation_steps s
                where s.operation_id = p_operation and s.is_irrevocable and s.state <> 'pending') then
        raise exception 'operation % has begun a step that is not undone', p_operation using errcode = 'RBC15';
    end if;
    update operations set cancel_asked_by = p_actor where operation_id = p_operation;
    perform note_event_v1(p_operation, 'cancel_asked', null, p_actor || coalesce(': ' || p_reason, ''));
    if held.state in ('awaiting_approval', 'pending') then
        perform enter_state_v1(p_operation, 'cancelled', 1, 'cancelled by ' || p_actor || ' before it began');
    elsif held.state <> 'running' then
        perform refuse_conflict_v1(p_operation, p_excludes);
        perform enter_state_v1(p_operation, 'cancelling');
        update operations set attempt = p_attempt where operation_id = p_operation;
        is_undone_now := true;
    end if;
    return query select o.state, is_undone_now from operations o where o.operation_id = p_operation;
end $$;
revoke all on function cancel_operation_v1 from public;
grant execute on function cancel_operation_v1 to control_leader;
