-- The arriving user becomes this cell's, by the certificate that the caller has verified: from here on they trade here.
-- It must speak of the very copy that is here (p_write_seq, p_chain_head). What waited unseen begins to work, in the
-- order that it had; row numbers are new. Asked again: `already`.
-- Outcome: `active`, `already`, `MOVE_UNKNOWN`, `OTHER_COPY` (the certificate speaks of another state of the user),
-- `NOT_HALTED` (the last load never came). Lock: the user's row.
create or replace function activate_v1(
    p_user_id uuid, p_move_id uuid, p_ownership_epoch bigint, p_write_seq bigint, p_chain_head bytea,
    p_certificate text
) returns text language plpgsql security definer
set search_path from current
as $$
declare
    mine record;
    waiting jsonb;
begin
    select u.owner_state, u.epoch, u.operation_id, u.write_seq, u.chain_head, u.order_event_seq,
           u.entry_seq into mine
      from users u where u.user_id = p_user_id for no key update;
    if exists (select from arrivals a
                where a.user_id = p_user_id and a.move_id = p_move_id and a.activated_at is not null) then
        return 'already';
    elsif mine.owner_state is distinct from 'arriving' or mine.operation_id <> p_move_id
        or mine.epoch <> p_ownership_epoch then
        return 'MOVE_UNKNOWN';
    elsif mine.write_seq <> p_write_seq or mine.chain_head <> p_chain_head then
        return 'OTHER_COPY';
    end if;
    select a.work into waiting from arrivals a where a.user_id = p_user_id and a.move_id = p_move_id;
    if waiting is null then
        return 'NOT_HALTED';
    end if;
    insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq, occurred_at)
    select p_user_id, w.write_seq, w.epoch, w.order_id, w.order_event_seq, w.order_stream_seq, w.entry_seq,
           w.occurred_at
      from jsonb_to_recordset(waiting -> 'outbox') as w (
               id bigint, write_seq bigint, epoch bigint, order_id uuid, order_event_seq integer,
               order_stream_seq bigint, entry_seq bigint, occurred_at timestamptz)
     order by w.id;
    insert into armed_stops (user_id, order_id, symbol, side, stop_px_micros, armed_at, mark)
    select p_user_id, w.order_id, w.symbol, w.side, w.stop_px_micros, w.armed_at, w.mark
      from jsonb_to_recordset(waiting -> 'armed_stops') as w (
               order_id uuid, symbol text, side text, stop_px_micros bigint, armed_at timestamptz, mark bigint);
    insert into queued_orders (user_id, order_id, release_at)
    select p_user_id, w.order_id, w.release_at
      from jsonb_to_recordset(waiting -> 'queued_orders') as w (order_id uuid, release_at timestamptz);
    insert into reached_stops (user_id, order_id, number, px_micros)
    select p_user_id, w.order_id, w.number, w.px_micros
      from jsonb_to_recordset(waiting -> 'reached_stops') as w (order_id uuid, number bigint, px_micros bigint);
    update users
       set owner_state = 'active', operation_id = null, halt_id = null, lease_ends_at = null, forward_cell = null,
           forward_epoch = null
     where user_id = p_user_id;
    update arrivals
       set certificate = p_certificate, activated_at = clock_v1(), work = null,
           orders_published = coalesce((select min(b.order_stream_seq) from outbox b where b.user_id = p_user_id) - 1,
                                       mine.order_event_seq),
           ledger_published = coalesce((select min(b.entry_seq) from outbox b where b.user_id = p_user_id) - 1,
                                       mine.entry_seq)
     where user_id = p_user_id and move_id = p_move_id;
    return 'active';
end $$;
