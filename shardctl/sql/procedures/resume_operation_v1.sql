-- A failed operation goes on at the step that failed, with all its attempts again. One that has not ended is left
-- alone. p_attempt: the row of the audit chain that asks for it; the operation's end is its outcome, if it goes on.
-- Result: the state it is in now (null: there is none), and whether it goes on by this call. SQLSTATE RBC12 (as
-- create_operation_v1), RBC13, RBC17. Lock: control.operations against other creators and resumers.
create or replace function resume_operation_v1(
    p_operation bigint, p_attempt bigint, p_actor text, p_reason text, p_excludes jsonb
) returns table (state text, goes_on boolean) language plpgsql security definer set search_path from current as $$
declare
    held operations;
begin
    lock table operations in share row exclusive mode;
    perform refuse_ended_v1(p_attempt);
    select * into held from operations where operation_id = p_operation;
    if not found then
        return query select null::text, false;
        return;
    end if;
    if held.state in ('awaiting_approval', 'pending', 'running', 'cancelling') then
        return query select held.state, false;
        return;
    end if;
    perform refuse_conflict_v1(p_operation, p_excludes);
    perform enter_state_v1(p_operation,
        case when held.cancel_asked_by is null then 'running' else 'cancelling' end);
    update operation_steps s set attempts = 0,
        state = case s.state when 'failed' then 'pending' else s.state end
     where s.operation_id = p_operation and s.state in ('running', 'failed');
    update operations set attempt = p_attempt where operation_id = p_operation;
    perform note_event_v1(p_operation, 'resumed', null, p_actor || coalesce(': ' || p_reason, ''));
    return query select o.state, true from operations o where o.operation_id = p_operation;
end $$;
revoke all on function resume_operation_v1 from public;
grant execute on function resume_operation_v1 to control_leader;
