-- A failed operation goes on at the step that failed, with all its attempts again. One that has not ended is left
-- alone. Result: the state it is in now; null: there is none. SQLSTATE RBC12 (as create_operation_v1), RBC13. Lock:
-- control.operations against other creators and resumers.
create or replace function resume_operation_v1(p_operation bigint, p_actor text, p_reason text, p_excludes jsonb)
returns text language plpgsql security definer set search_path from current as $$
declare
    held operations;
begin
    lock table operations in share row exclusive mode;
    select * into held from operations where operation_id = p_operation;
    if not found then
        return null;
    end if;
    if held.state in ('awaiting_approval', 'pending', 'running', 'cancelling') then
        return held.state;
    end if;
    perform refuse_conflict_v1(p_operation, p_excludes);
    perform enter_state_v1(p_operation,
        case when held.cancel_asked_by is null then 'running' else 'cancelling' end);
    update operation_steps set attempts = 0,
        state = case state when 'failed' then 'pending' else state end
     where operation_id = p_operation and state in ('running', 'failed');
    update operations
       set act_id = record_act_v1(null, p_actor, act, target, p_reason,
               arguments || jsonb_build_object('operation', p_operation, 'resumed', true), null, null)
     where operation_id = p_operation and act is not null;
    perform note_event_v1(p_operation, 'resumed', null, p_actor || coalesce(': ' || p_reason, ''));
    return (select state from operations where operation_id = p_operation);
end $$;
revoke all on function resume_operation_v1 from public;
grant execute on function resume_operation_v1 to control_leader;
