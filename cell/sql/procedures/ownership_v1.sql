-- May a write go on for this user? null = yes; otherwise the outcome that the cell answers with.
-- For whoever has not locked the user by lock_users_v1: previews, sessions, and who chooses whom to lock. By
-- clock_v1(): now() is older than a wait for a lock, and an ended lease would still look valid. An ended lease is no
-- halt, and the next lock clears it. Whoever is arriving is not here yet. A halt without a lease holds.
create or replace function ownership_v1(owner_state text, lease_ends_at timestamptz) returns text
language sql volatile parallel safe
return case owner_state
    when 'active' then null
    when 'halted' then case when coalesce(lease_ends_at > clock_v1(), true) then 'USER_HALTED' end
    else 'DEPARTED'
end;
