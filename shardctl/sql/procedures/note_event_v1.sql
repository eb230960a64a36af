-- One line of an operation's history. Only other procedures call this. Lock: none.
create or replace function note_event_v1(p_operation bigint, p_event text, p_step text, p_detail text)
returns void language sql security definer set search_path from current as $$
    insert into operation_events (operation_id, at, event, step, detail)
    values (p_operation, clock_v1(), p_event, p_step, left(p_detail, 2000))
$$;
revoke all on function note_event_v1 from public;
