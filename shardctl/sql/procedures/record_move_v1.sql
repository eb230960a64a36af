-- A user was moved: keep it, with the signed receipt. The same move again keeps the first.
-- Result: the receipt that is kept. SQLSTATE RBC10. Lock: control.leadership (shared).
create or replace function record_move_v1(
    p_lease bigint, p_move_id uuid, p_operation bigint, p_user_id uuid, p_from text, p_to text,
    p_ownership_epoch bigint, p_actor text, p_reason text, p_pause_us bigint, p_receipt text
) returns text language plpgsql security definer set search_path from current as $$
declare
    kept text;
begin
    perform check_lease_v1(p_lease);
    insert into moves (move_id, operation_id, user_id, from_cell, to_cell, ownership_epoch, actor, reason, pause_us,
        receipt, recorded_at)
    values (p_move_id, p_operation, p_user_id, p_from, p_to, p_ownership_epoch, p_actor, p_reason, p_pause_us,
        p_receipt, clock_v1())
    on conflict (move_id) do nothing;
    select m.receipt into strict kept from moves m where m.move_id = p_move_id;
    return kept;
end $$;
revoke all on function record_move_v1 from public;
grant execute on function record_move_v1 to control_leader;
