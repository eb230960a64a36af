-- A second person lets an operation begin. Harmless to repeat. Result: the state it is in now; null: there is none.
-- SQLSTATE RBC16: who asked for it cannot approve it; RBC13: it awaits no approval. Lock: the operation's row.
create or replace function approve_operation_v1(p_operation bigint, p_actor text, p_reason text) returns text
language plpgsql security definer set search_path from current as $$
declare
    held operations;
begin
    select * into held from operations where operation_id = p_operation for update;
    if not found then
        return null;
    end if;
    if held.approved_by is not null then
        return held.state;
    end if;
    if held.actor = p_actor then
        raise exception 'operation % was asked for by %: another person approves it', p_operation, p_actor
            using errcode = 'RBC16';
    end if;
    perform note_event_v1(p_operation, 'approved', null, p_actor || coalesce(': ' || p_reason, ''));
    perform enter_state_v1(p_operation, 'pending');
    update operations set approved_by = p_actor where operation_id = p_operation;
    return 'pending';
end $$;
revoke all on function approve_operation_v1 from public;
grant execute on function approve_operation_v1 to control_leader;
