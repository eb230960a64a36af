-- Delete what is old enough, a bounded number of rows: samples, all but one a minute after `p_samples`, those after
-- `p_long`; operations that ended before `p_operations`, with their steps and events. The least ages are kept here,
-- whatever is asked for: an hour of samples, a week of the long ones, thirty days of operations.
-- Result: rows deleted; less than `p_limit` means that nothing old is left. SQLSTATE RBC10.
-- Lock: control.leadership (shared), the rows.
create or replace function prune_control_v1(
    p_lease bigint, p_samples interval, p_long interval, p_operations interval, p_limit integer
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    deleted bigint;
    total bigint := 0;
begin
    perform check_lease_v1(p_lease);
    delete from counter_samples s using (
        select process, sampled_at from counter_samples
         where not is_kept_long and sampled_at < clock_v1() - greatest(p_samples, '1 hour') order by sampled_at
         limit p_limit) old
     where (s.process, s.sampled_at) = (old.process, old.sampled_at);
    get diagnostics deleted = row_count;
    total := total + deleted;
    delete from counter_samples s using (
        select process, sampled_at from counter_samples
         where is_kept_long and sampled_at < clock_v1() - greatest(p_long, '7 days') order by sampled_at
         limit p_limit) old
     where (s.process, s.sampled_at) = (old.process, old.sampled_at);
    get diagnostics deleted = row_count;
    total := total + deleted;
    delete from operations o using (
        select operation_id from operations
         where ended_at < clock_v1() - greatest(p_operations, '30 days') order by operation_id limit p_limit) old
     where o.operation_id = old.operation_id;
    get diagnostics deleted = row_count;
    return total + deleted;
end $$;
revoke all on function prune_control_v1 from public;
grant execute on function prune_control_v1 to control_leader;
