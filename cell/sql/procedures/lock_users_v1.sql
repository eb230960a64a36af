-- Statement one of every write: lock the users' rows in order of id, and nothing else. What the locks protect is read
-- by a later statement, whose snapshot is younger than the locks (READ COMMITTED: one statement that waits for a lock
-- and reads would see the balance from before the wait).
-- Result: the users whose rows are locked now, never null. Without p_wait a user whom another writer holds is left out;
-- with it the call waits, and ends with 55P03 after lock_timeout.
-- A lease that has ended by then is cleared here, and nowhere else: whoever holds the lock finds the user active, and
-- the mover whose lease it was finds that it is over, whatever a clock says later. What is halted still is halted for
-- the whole transaction (locked_ownership_v1), also if its lease ends a moment from now.
create or replace function lock_users_v1(p_user_ids uuid[], p_wait boolean) returns uuid[]
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    locked uuid[];
    is_any_halted boolean;
begin
    if p_wait then
        select coalesce(array_agg(l.user_id), '{}'), bool_or(l.owner_state = 'halted') into locked, is_any_halted from
            (select user_id, owner_state from users where user_id = any (p_user_ids)
              order by user_id for no key update) l;
    else
        select coalesce(array_agg(l.user_id), '{}'), bool_or(l.owner_state = 'halted') into locked, is_any_halted from
            (select user_id, owner_state from users where user_id = any (p_user_ids)
              order by user_id for no key update skip locked) l;
    end if;
    if is_any_halted then
        update users set owner_state = 'active', halt_id = null, lease_ends_at = null
         where user_id = any (locked) and owner_state = 'halted' and ownership_v1(owner_state, lease_ends_at) is null;
    end if;
    return locked;
end $$;
