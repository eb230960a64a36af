-- When a schedule is due next. p_after: the time at which it was due, if its operation has begun; null for one that is
-- not known yet (of one that is, nothing changes). Result: whether something changed: of two that call, one does.
-- SQLSTATE RBC10. Lock: control.leadership (shared), the schedule's row.
create or replace function set_due_v1(
    p_lease bigint, p_name text, p_after timestamptz, p_due_at timestamptz, p_operation bigint
) returns boolean language plpgsql security definer set search_path from current as $$
begin
    perform check_lease_v1(p_lease);
    if p_after is null then
        insert into schedules (name, due_at) values (p_name, p_due_at) on conflict do nothing;
    else
        update schedules set due_at = p_due_at, begun_at = clock_v1(), operation_id = p_operation
         where name = p_name and due_at = p_after;
    end if;
    return found;
end $$;
revoke all on function set_due_v1 from public;
grant execute on function set_due_v1 to control_leader;
