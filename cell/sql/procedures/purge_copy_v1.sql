-- Delete every row of a user who is not owned here, but the row in `users`, the departures and arrivals: a kept copy
-- after the hold period, one that arrived and is aborted, one that a return replaces. Not for callers outside: who
-- calls it has locked the user and knows that the copy is no owner's. SQLSTATE RB042: it is.
create or replace function purge_copy_v1(p_user_id uuid) returns void
language plpgsql
set search_path from current
as $$
begin
    if exists (select from users u where u.user_id = p_user_id and u.owner_state in ('active', 'halted')) then
        raise exception 'this cell owns the user: nothing is purged' using errcode = 'RB042';
    end if;
    delete from order_events e using orders o
     where o.user_id = p_user_id and e.order_id = o.order_id and e.user_id = p_user_id;
    delete from executions where user_id = p_user_id;
    delete from orders where user_id = p_user_id;
    delete from postings where user_id = p_user_id;
    delete from journal_entries where user_id = p_user_id;
    delete from archive.order_events where user_id = p_user_id;
    delete from archive.executions where user_id = p_user_id;
    delete from archive.postings where user_id = p_user_id;
    delete from archive.journal_entries where user_id = p_user_id;
    delete from idempotency_keys where user_id = p_user_id;
    delete from positions where user_id = p_user_id;
    delete from deposits where user_id = p_user_id;
    delete from share_transfers where user_id = p_user_id;
    delete from unsettled_lots where user_id = p_user_id;
    delete from lifted_restrictions where user_id = p_user_id;
    delete from customers where user_id = p_user_id;
    delete from refresh_families where user_id = p_user_id;
    delete from login_sources where user_id = p_user_id;
end $$;
