-- The fence of operations: the caller works under the control plane's lease of that number; a lower one than the
-- highest met here is a former leader's. Called in the transaction that changes something, it holds until that ends: a
-- later leader's announcement waits for it, so nothing of the former one is committed after it. SQLSTATE RB040: another
-- leader is known here. Lock: control_leader, shared; exclusively to raise the number.
create or replace function meet_leader_v1(p_number bigint) returns void
language plpgsql security definer
set search_path from current
as $$
declare
    held bigint;
begin
    -- Not after the shared lock: two that hold it would wait for each other.
    update control_leader set number = p_number where number < p_number;
    select number into held from control_leader for share;
    if p_number < held then
        raise exception 'lease % is over, lease % leads', p_number, held using errcode = 'RB040';
    end if;
end $$;
