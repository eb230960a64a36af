-- Cancel orders about which the venue is silent: `routed` becomes pending_cancel with an instruction to cancel; the
-- funds stay until the venue answers. Orders that moved meanwhile, and users that somebody else has, are left alone.
-- Result: how many. Lock order: users by id (SKIP LOCKED), then everything is read again.
create or replace function cancel_unanswered_v1(p_user_ids uuid[], p_order_ids uuid[]) returns integer
language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    locked constant uuid[] := lock_users_v1(p_user_ids, false);
    order_index integer;
    moved integer := 0;
begin
    for order_index in 1 .. coalesce(cardinality(p_user_ids), 0) loop
        if p_user_ids[order_index] = any (locked) then
            moved := moved
                + advance_orders_v1(array[p_user_ids[order_index]], array[p_order_ids[order_index]], array['routed'],
                                            'pending_cancel', 'the venue does not answer', 'cancel');
        end if;
    end loop;
    return moved;
end $$;
