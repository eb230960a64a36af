-- Is there an operation that has not ended and excludes this one? p_excludes: kind -> "fleet" (always), "cell" or
-- "user" (if both work on the same one), "none"; a kind that is not named excludes, because who does not know it cannot
-- judge. The caller holds the lock against other creators. SQLSTATE RBC12, with the number and name of the other.
create or replace function refuse_conflict_v1(p_operation bigint, p_excludes jsonb) returns void
language plpgsql security definer set search_path from current as $$
declare
    mine operations;
    other operations;
begin
    select * into strict mine from operations where operation_id = p_operation;
    select o.* into other from operations o
     where o.state in ('awaiting_approval', 'pending', 'running', 'cancelling') and o.operation_id <> p_operation
       and case coalesce(p_excludes->>o.kind, 'fleet')
               when 'none' then false when 'cell' then o.cells && mine.cells when 'user' then o.users && mine.users
               else true end
     order by o.operation_id limit 1;
    if found then
        raise exception 'operation % (% %, by %) is %', other.operation_id, other.kind, other.target, other.actor,
            other.state using errcode = 'RBC12';
    end if;
end $$;
revoke all on function refuse_conflict_v1 from public;
