-- What time it is for whatever is compared with a token's times: the database's clock, shifted by the session's setting
-- `brokerage.clock_offset`, an interval as text; unset or empty: not at all. Ages of what only this database wrote
-- (claims) are lengths, and are measured by its own clock.
create or replace function clock_v1() returns timestamptz
language sql volatile parallel safe
return clock_timestamp() + coalesce(nullif(current_setting('brokerage.clock_offset', true), ''), '0')::interval;
revoke all on function clock_v1 from public;
grant execute on function clock_v1 to control_leader;
