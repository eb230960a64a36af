-- Forget sources of logins whose budget of guesses is whole again and from which nobody has logged in for 90 days, a
-- bounded number per call. Result: rows deleted. Lock: the rows themselves; one that a login holds is left for the next
-- call.
create or replace function prune_login_sources_v1(p_limit integer) returns bigint
language sql security definer
set search_path from current
as $$
    with old as (
        select user_id, source from login_sources
         where kept_until < (select age_clock_v1()) limit p_limit for update skip locked
    ),
    gone as (
        delete from login_sources s using old where s.user_id = old.user_id and s.source = old.source returning 1
    )
    select count(*) from gone
$$;
