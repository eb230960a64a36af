-- May this source try a password of this account now? Each source has ten guesses at once and one more every minute.
-- All sources from which nobody has ever logged in to the account share a hundred (NIST SP 800-63B) and one a minute
-- besides, so that thousands of addresses do not add up, and a few do not keep its owner from logging in somewhere new;
-- a source that once brought the right password (or is vouched for: it holds a refresh token of the account) needs none
-- of those, so nobody else's guesses keep it out. A right password gives the guess back (start_session_v1). The account
-- need not exist. Rows are kept until their budget is whole again, or for 90 days after a login.
-- Result: wait_s null, and a guess was taken; or the seconds to wait, and nothing was taken. is_stranger: of the shared
-- ones.
-- Lock: the account's row for unknown sources, then the source's; nothing of the user's, and never for long.
create or replace function admit_login_v1(p_user_id uuid, p_source bytea, p_is_vouched boolean)
returns table (wait_s double precision, is_stranger boolean) language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    per_guess constant interval := '1 minute';
    own_window constant interval := '10 minutes';      -- ten guesses
    shared_window constant interval := '100 minutes';  -- a hundred
    now_at timestamptz;
    own_at timestamptz;
    shared_at timestamptz;
    free_at timestamptz;
begin
    is_stranger := not p_is_vouched and not exists (
        select from login_sources s
         where s.user_id = p_user_id and s.source = p_source and s.logged_in_at is not null);
    if is_stranger then
        insert into login_sources as s (user_id, source, whole_at, kept_until)
        values (p_user_id, '', '-infinity', '-infinity')
        on conflict (user_id, source) do update set whole_at = s.whole_at
        returning s.whole_at into shared_at;
    end if;
    insert into login_sources as s (user_id, source, whole_at, kept_until)
    values (p_user_id, p_source, '-infinity', '-infinity')
    on conflict (user_id, source) do update set whole_at = s.whole_at
    returning s.whole_at into own_at;
    now_at := clock_v1();
    own_at := greatest(own_at, now_at) + per_guess;
    shared_at := greatest(shared_at, now_at) + per_guess;
    free_at := greatest(own_at - own_window, case when is_stranger then shared_at - shared_window end);
    if free_at > now_at then
        wait_s := extract(epoch from free_at - now_at);
        return next;
        return;
    end if;
    update login_sources s
       set whole_at = due.at, kept_until = greatest(s.kept_until, due.at)
      from (values (p_source, own_at), ('', case when is_stranger then shared_at end)) as due (source, at)
     where s.user_id = p_user_id and s.source = due.source and due.at is not null;
    return next;
end $$;
