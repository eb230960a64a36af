-- What time a statement's snapshot is of, for answers that say `as_of`: the start of the transaction by the clock of
-- clock_v1, never later than what the snapshot holds.
create or replace function snapshot_time_v1() returns timestamptz
language sql stable parallel safe
return now() + coalesce(nullif(current_setting('brokerage.clock_offset', true), ''), '0')::interval;
