-- Why: sessions are begun and turned over by the database's clock now; the procedures that took the caller's are called by
-- nobody any more. Lock: none of note. Undo: install the procedures of the release before.

drop function if exists brokerage.start_session_v1(uuid, uuid, bytea, timestamptz, timestamptz);
drop function if exists brokerage.refresh_session_v1(uuid, uuid, bytea, bytea, timestamptz);
