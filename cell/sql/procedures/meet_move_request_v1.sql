-- A request of a move is met: the newest one so far, or it is refused, in the transaction of its effect. A request
-- whose answer was not waited for may still arrive; what its mover did afterwards must not be undone by it.
-- Result: none. SQLSTATE RB043: a later request of this move was met. Lock: the move's row, to the end of the
-- transaction.
create or replace function meet_move_request_v1(p_move_id uuid, p_lease bigint, p_number bigint) returns void
language plpgsql security definer
set search_path from current
as $$
begin
    insert into move_requests as m (move_id, lease, number, met_at)
    values (p_move_id, p_lease, p_number, clock_v1())
    on conflict (move_id) do update
       set lease = excluded.lease, number = excluded.number, met_at = excluded.met_at
     where (m.lease, m.number) < (excluded.lease, excluded.number);
    if not found then
        raise exception 'a later request of this move was met' using errcode = 'RB043';
    end if;
end $$;
