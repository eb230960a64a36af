-- The numbers of an arriving user, as they stand in the source at the instant of what was loaded in this transaction;
-- and at the halt the rows that nobody may see before the user is active (p_work, by table). Outcome: `taken`,
-- `MOVE_UNKNOWN` (this move does not bring the user here, or no longer). Lock: the user's row.
create or replace function take_head_v1(p_user_id uuid, p_move_id uuid, p_head jsonb, p_work jsonb) returns text
language plpgsql security definer
set search_path from current
as $$
begin
    update users u
       set profile = h.profile, restricted = h.restricted, cash_micros = h.cash_micros,
           cash_held_micros = h.cash_held_micros, write_seq = h.write_seq, entry_seq = h.entry_seq,
           order_event_seq = h.order_event_seq, chain_head = h.chain_head, created_at = h.created_at,
           recent_order_ats = h.recent_order_ats, recent_order_values = h.recent_order_values,
           recorded_at = h.recorded_at, recorded_since = h.recorded_since
      from jsonb_to_record(p_head) as h (
               profile text, restricted boolean, cash_micros bigint, cash_held_micros bigint, write_seq bigint,
               entry_seq bigint, order_event_seq bigint, chain_head bytea, created_at timestamptz,
               recent_order_ats timestamptz[], recent_order_values bigint[], recorded_at timestamptz,
               recorded_since timestamptz)
     where u.user_id = p_user_id and u.owner_state = 'arriving' and u.operation_id = p_move_id;
    if not found then
        return 'MOVE_UNKNOWN';
    end if;
    update arrivals set work = p_work where user_id = p_user_id and move_id = p_move_id;
    return 'taken';
end $$;
