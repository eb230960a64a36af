-- Put an operation into a state, if the transition table has that step; the same table is in operations/states.py, and
-- a test compares them. An end is the outcome of the attempt that asked for the operation, or resumed it. Only other
-- procedures call this.
-- SQLSTATE RBC13: no such transition. Lock: the operation's row, then control.audit_lock.
create or replace function enter_state_v1(
    p_operation bigint, p_state text, p_exit_code integer default null, p_detail text default null
) returns void language plpgsql security definer set search_path from current as $$
declare
    held operations;
    is_end constant boolean := p_state in ('succeeded', 'failed', 'refused', 'cancelled');
begin
    select * into strict held from operations where operation_id = p_operation for update;
    if not exists (
        select from (values
            ('awaiting_approval', 'pending'), ('awaiting_approval', 'cancelled'),
            ('pending', 'running'), ('pending', 'refused'), ('pending', 'cancelled'),
            ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelling'),
            ('cancelling', 'cancelled'), ('cancelling', 'failed'),
            ('failed', 'running'), ('failed', 'cancelling')
        ) as allowed(before, after) where (before, after) = (held.state, p_state)
    ) then
        raise exception 'operation % is %, and does not become %', p_operation, held.state, p_state
            using errcode = 'RBC13';
    end if;
    update operations
       set state = p_state, exit_code = p_exit_code, detail = left(p_detail, 2000),
           started_at = coalesce(started_at, case when p_state = 'running' then clock_v1() end),
           ended_at = case when is_end then clock_v1() end
     where operation_id = p_operation;
    if is_end then
        perform end_attempt_of_v1(p_operation);
    end if;
    perform note_event_v1(p_operation, p_state, null, p_detail);
end $$;
revoke all on function enter_state_v1 from public;
