-- Append the end of an operation to the audit chain: it is the outcome of the attempt that asked for it, or resumed it.
-- Once; an operation that has not ended, and one that nobody's attempt is known of, has none. Only other procedures
-- call this. Lock: control.audit_lock, until the transaction ends.
create or replace function end_attempt_of_v1(p_operation bigint) returns void
language plpgsql security definer set search_path from current as $$
begin
    perform end_audit_v1(
        -- one that an older release asked for
        coalesce(o.attempt, (select a.number from acts_in_audit a where a.entry_id = o.act_id)),
        case o.state when 'succeeded' then 'done' when 'refused' then 'refused' when 'failed' then 'failed'
            else 'interrupted' end,
        concat_ws(': ', format('operation %s', o.operation_id), o.detail))
      from operations o where o.operation_id = p_operation and o.exit_code is not null;
end $$;
revoke all on function end_attempt_of_v1 from public;
