-- What `start_term_v1` and a limit in the call replaced: a leader named by its session, and a limit judged by the
-- session's own clock.
-- Lock: none. Undo: none is needed, no caller is left.

drop function if exists brokerage.delete_outbox_v1(bigint[], integer);
drop function if exists brokerage.end_long_readers_v1();
