-- What the release before 0016 triggers stops with: by times, not by numbers. It stays until every worker is of the new one.
-- Lock: none that matters. Undo: put the old function back.

set local search_path = brokerage;

drop function if exists trigger_stops_v1(text[], bigint[], timestamptz[], integer, timestamptz, text, boolean);
