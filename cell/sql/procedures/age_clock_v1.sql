-- What time it is where an age protects something from deletion: the session's clock (`clock_v1`), but no further ahead
-- of the database's own than its owner allows (`rehearsal`). Whoever may call a prune may set their session's clock.
-- Callers take it once, in a subquery of its own: every call reads the table.
create or replace function age_clock_v1() returns timestamptz
language plpgsql security definer
set search_path from current
as $$
begin
    return least(clock_v1(), clock_timestamp() + coalesce((select r.ahead_max from rehearsal r), '0'));
end $$;
