-- Let a user write again who stayed read-only when the restored cell was opened: a person has looked at what is lost.
-- p_orders, p_ledger and p_write_seq are the last numbers that Kafka holds of the user; the user's own go on behind
-- them, so no event's id is given out twice. What lies between is lost for good, and the act says which numbers those
-- are (`lost_sequences`): checks and comparisons leave them out.
-- Outcome: `released`, `NOT_HELD` (the user is not here, or is not halted by a restore), `FENCED` (the cell is not
-- open), `UNPUBLISHED` (events of before are not in Kafka yet: what is lost is not known). Lock: the user's row.
create or replace function release_restored_user_v1(
    p_actor text, p_reason text, p_user_id uuid, p_orders bigint, p_ledger bigint, p_write_seq bigint
) returns text language plpgsql security definer
set search_path from current
as $$
declare
    held record;
begin
    if exists (select from incarnations where opened_at is null) then
        return 'FENCED';
    end if;
    select u.order_event_seq, u.entry_seq, u.halt_id into held
      from users u join incarnations i on i.incarnation_id = u.halt_id
     where u.user_id = p_user_id and u.owner_state = 'halted' and u.lease_ends_at is null
       for no key update of u;
    if not found then
        return 'NOT_HELD';
    end if;
    if exists (select from outbox where user_id = p_user_id) then
        return 'UNPUBLISHED';
    end if;
    update users
       set owner_state = 'active', halt_id = null, write_seq = greatest(write_seq, p_write_seq) + 1,
           order_event_seq = greatest(order_event_seq, p_orders), entry_seq = greatest(entry_seq, p_ledger)
     where user_id = p_user_id;
    perform record_act_v1(p_actor, 'release_restored_user', p_user_id, p_reason, jsonb_build_object(
        'incarnation_id', held.halt_id,
        'orders', case when p_orders > held.order_event_seq
                       then jsonb_build_array(held.order_event_seq + 1, p_orders) end,
        'ledger', case when p_ledger > held.entry_seq then jsonb_build_array(held.entry_seq + 1, p_ledger) end));
    return 'released';
end $$;
