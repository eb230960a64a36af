-- May a write go on for a user whom lock_users_v1 has locked? null = yes; otherwise the outcome that the cell answers.
-- Whoever is arriving is not here yet, and goes where they come from.
-- No clock: the lock has cleared every lease that had ended, so what is halted here is halted until the lock is gone.
create or replace function locked_ownership_v1(owner_state text) returns text
language sql immutable parallel safe
return case owner_state when 'active' then null when 'halted' then 'USER_HALTED' else 'DEPARTED' end;
