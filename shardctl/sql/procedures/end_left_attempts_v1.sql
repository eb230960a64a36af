-- Append the outcomes that the chain lacks of operations that have ended: an older release's leader ended them, while
-- two releases ran, and that one knows no chain. Of the newest 1,000 operations: a rollout sees some dozens.
-- Result: how many. SQLSTATE RBC10. Lock: control.leadership (shared), then control.audit_lock.
create or replace function end_left_attempts_v1(p_lease bigint) returns integer
language plpgsql security definer set search_path from current as $$
declare
    left_over bigint;
    ended integer := 0;
begin
    perform check_lease_v1(p_lease);
    for left_over in
        select o.operation_id
          from (select * from operations order by operation_id desc limit 1000) o
          left join acts_in_audit c on c.entry_id = o.act_id
         where o.exit_code is not null and coalesce(o.attempt, c.number) is not null
           and not exists (select from audit a where a.ends = coalesce(o.attempt, c.number))
         order by o.ended_at, o.operation_id
    loop
        perform end_attempt_of_v1(left_over);
        ended := ended + 1;
    end loop;
    return ended;
end $$;
revoke all on function end_left_attempts_v1 from public;
grant execute on function end_left_attempts_v1 to control_leader;
