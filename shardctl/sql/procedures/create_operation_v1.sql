-- Record an operation with its steps, to be executed by the leader. A key that is known answers with its operation.
-- p_plan: {target, state_hash, cells: [], users: [], calls: [], steps: [{key, action, arguments, attempts_max,
-- timeout_s, is_irrevocable}], excludes: {kind: "fleet" | "cell" | "user" | "none"}}; a kind that `excludes` does not
-- name excludes. p_attempt: the row of the audit chain that asked for it; null: nobody did, the clock is due, and the
-- row is appended here, when it begins and not each time that it had to wait.
-- Result: the operation's number, and whether it is new. SQLSTATE RBC11: the key was used for another request. RBC12:
-- an operation that has not ended excludes this one. RBC17: the attempt's outcome is recorded already. Lock:
-- control.operations against other creators and resumers, then control.audit_lock.
create or replace function create_operation_v1(
    p_kind text, p_version integer, p_arguments jsonb, p_plan jsonb, p_attempt bigint, p_actor text,
    p_reason text, p_key text, p_needs_approval boolean
) returns table (operation_id bigint, is_new boolean)
language plpgsql security definer set search_path from current as $$
declare
    known operations;
    made bigint;
begin
    lock table operations in share row exclusive mode;
    perform refuse_ended_v1(p_attempt);
    select * into known from operations o where o.idempotency_key = p_key;
    if found then
        if known.kind <> p_kind or known.arguments <> p_arguments then
            raise exception 'the key was used for operation % (% %)', known.operation_id, known.kind, known.target
                using errcode = 'RBC11';
        end if;
        return query select known.operation_id, false;
        return;
    end if;
    insert into operations (kind, version, arguments, target, cells, users, calls, state, state_hash, actor, reason,
        idempotency_key, created_at)
    values (p_kind, p_version, p_arguments, p_plan->>'target',
        array(select jsonb_array_elements_text(p_plan->'cells')),
        array(select jsonb_array_elements_text(p_plan->'users')::uuid),
        array(select jsonb_array_elements_text(p_plan->'calls')),
        case when p_needs_approval then 'awaiting_approval' else 'pending' end, p_plan->>'state_hash', p_actor,
        p_reason, p_key, clock_v1())
    returning operations.operation_id into made;
    perform refuse_conflict_v1(made, p_plan->'excludes');
    insert into operation_steps (operation_id, position, key, action, arguments, attempts_max, timeout_s,
        is_irrevocable)
    select made, place, step->>'key', step->>'action', step->'arguments', (step->>'attempts_max')::integer,
        (step->>'timeout_s')::real, (step->>'is_irrevocable')::boolean
      from jsonb_array_elements(p_plan->'steps') with ordinality as steps(step, place);
    update operations o
       set attempt = coalesce(p_attempt, append_audit_v1(p_actor, 'schedule', 'schedule', p_kind, p_plan->>'target',
               p_reason, p_arguments::json))
     where o.operation_id = made;
    perform note_event_v1(made, case when p_needs_approval then 'awaiting_approval' else 'pending' end, null, null);
    return query select made, true;
end $$;
revoke all on function create_operation_v1 from public;
grant execute on function create_operation_v1 to control_leader;
