-- Be the one process of this cell that does a task (`worker`, `relay`), as long as the caller's transaction is open.
-- Whoever calls it without a transaction leads for the length of this call, which is nothing.
-- Result: false, somebody else leads. Lock: the task's own view, exclusively, without waiting. A lock of this strength
-- needs a right to change the view, which its owner alone has and lends here: who may only read can neither take it nor
-- be in its way (a reader's lock does not conflict with it). It is gone with the session.
create or replace function take_leadership_v1(p_task text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
    case p_task
        when 'worker' then lock table leadership_of_worker in exclusive mode nowait;
        when 'relay' then lock table leadership_of_relay in exclusive mode nowait;
    end case;
    return true;
exception when lock_not_available then
    return false;
end $$;
