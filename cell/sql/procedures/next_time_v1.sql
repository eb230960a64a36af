-- The time of a user's next write: the clock's, read after the user's row was locked, but always later than the last
-- one (users.recorded_at). So whatever is recorded of a user is in the order of the writes, whichever process sent them
-- and however a clock steps back; each write keeps its time in users.recorded_at.
create or replace function next_time_v1(locked_at timestamptz, last_at timestamptz) returns timestamptz
language sql stable parallel safe
return greatest(locked_at, last_at + interval '1 microsecond');
