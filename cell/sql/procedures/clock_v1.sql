-- What time it is, for everything that the cell records, judges a lease by or counts a rate with: the database's clock,
-- read when it is called (now() is older than a wait for a lock), shifted by the session's setting
-- `brokerage.clock_offset`, an interval as text; unset or empty: not at all. So a drill that shifts the clock moves app
-- servers and database together. Every call may give another time: who writes one thing twice reads the clock once.
create or replace function clock_v1() returns timestamptz
language sql volatile parallel safe
return clock_timestamp() + coalesce(nullif(current_setting('brokerage.clock_offset', true), ''), '0')::interval;
