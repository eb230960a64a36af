-- The point of no return: this cell stops owning the user, and its certificate says so. Compare-and-set on the halt,
-- its lease and the heads that were proven; whatever changed since refuses. Asked again: the certificate that was
-- stored. What would still work for the user here (events to publish, queued orders, armed stops) has travelled and
-- goes. Outcome: `departed` (the caller reads the certificate after the commit), `already`, `MOVE_UNKNOWN`,
-- `LEASE_OVER`, `CHANGED` (the heads are others), `EPOCH_TOO_LOW`. Lock: the user's row.
create or replace function depart_v1(
    p_user_id uuid, p_move_id uuid, p_halt_id uuid, p_write_seq bigint, p_chain_head bytea, p_certificate text
) returns text language plpgsql security definer
set search_path from current
as $$
declare
    mine record;
    going record;
    left_at timestamptz;
begin
    -- not by lock_users_v1: it clears an ended lease, which this must find
    select u.owner_state, u.operation_id, u.halt_id, u.lease_ends_at, u.epoch, u.write_seq, u.chain_head,
           u.order_event_seq, u.entry_seq into mine
      from users u where u.user_id = p_user_id for no key update;
    select d.to_cell, d.ownership_epoch, d.departed_at into going
      from departures d where d.user_id = p_user_id and d.move_id = p_move_id;
    if going.departed_at is not null then
        return 'already';
    elsif going.to_cell is null or mine.operation_id is distinct from p_move_id then
        return 'MOVE_UNKNOWN';
    end if;
    left_at := clock_v1();
    if mine.owner_state <> 'halted' or mine.halt_id <> p_halt_id or mine.lease_ends_at <= left_at then
        return 'LEASE_OVER';
    elsif mine.write_seq <> p_write_seq or mine.chain_head <> p_chain_head then
        return 'CHANGED';
    elsif mine.epoch >= going.ownership_epoch
        or exists (select from departures d where d.user_id = p_user_id and d.departed_at is not null
                      and d.ownership_epoch >= going.ownership_epoch) then
        return 'EPOCH_TOO_LOW';
    end if;
    update departures d
       set departed_at = left_at, certificate = p_certificate,
           orders_published = coalesce((select min(b.order_stream_seq) from outbox b where b.user_id = p_user_id) - 1,
                                       mine.order_event_seq),
           ledger_published = coalesce((select min(b.entry_seq) from outbox b where b.user_id = p_user_id) - 1,
                                       mine.entry_seq)
     where d.user_id = p_user_id and d.move_id = p_move_id;
    update users
       set owner_state = 'departed', halt_id = null, lease_ends_at = null, forward_cell = going.to_cell,
           forward_epoch = going.ownership_epoch, operation_id = null
     where user_id = p_user_id;
    delete from outbox where user_id = p_user_id;
    delete from armed_stops where user_id = p_user_id;
    delete from queued_orders where user_id = p_user_id;
    delete from reached_stops where user_id = p_user_id;
    return 'departed';
end $$;
