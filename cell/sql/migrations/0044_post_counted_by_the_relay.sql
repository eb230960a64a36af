-- What the relay's own counts replaced: forgetting rows without them, and counting from four columns. A relay of the
-- release before calls the first, which calls the second, until it is replaced.
-- Lock: none. Undo: none is needed, no caller is left.

drop function if exists brokerage.delete_outbox_v1(bigint[], uuid);
drop function if exists brokerage.add_to_rollups_v1(uuid[], uuid[], integer[], bigint[]);
