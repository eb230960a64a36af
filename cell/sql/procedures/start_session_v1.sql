-- Begin a family of refresh tokens after a password was verified. The source of the login (null: none was named) is
-- known from now on: guesses from there are counted apart from everybody else's, what they had used of their budget is
-- whole again, and if this was a stranger's guess (admit_login_v1), the strangers get it back. Of an account's known
-- sources the newest 32 are kept, 90 days each.
-- A new hash of the password (null: none) takes the place of the one in an older form.
-- SQLSTATEs: RB011 the user is gone or was never here, RB012 halted: a session begun now would not move with the user.
-- 55P03: another writer has the user; the caller tries again, and keeps no connection from others meanwhile.
-- Lock: the user's row, then the account's sources.
create or replace function start_session_v1(
    p_user_id uuid, p_family_id uuid, p_family_key bytea, p_hash bytea, p_lifetime interval, p_source bytea,
    p_was_stranger boolean, p_password_hash text
) returns void language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    owned text;
    now_at timestamptz;
begin
    perform from users where user_id = p_user_id for no key update nowait;
    if not found then
        raise exception 'the user left this cell' using errcode = 'RB011';
    end if;
    select ownership_v1(owner_state, lease_ends_at) into owned from users where user_id = p_user_id;
    if owned = 'DEPARTED' then
        raise exception 'the user left this cell' using errcode = 'RB011';
    elsif owned is not null then
        raise exception 'the user is halted' using errcode = 'RB012';
    end if;
    now_at := clock_v1();
    insert into refresh_families (user_id, family_id, family_key, current_hash, created_at, expires_at)
    values (p_user_id, p_family_id, p_family_key, p_hash, now_at, now_at + p_lifetime);
    if p_password_hash is not null then
        update customers set password_hash = p_password_hash where user_id = p_user_id;
    end if;
    if p_source is null then
        return;
    end if;
    if p_was_stranger then
        update login_sources set whole_at = whole_at - interval '1 minute' where user_id = p_user_id and source = '';
    end if;
    insert into login_sources (user_id, source, whole_at, logged_in_at, kept_until)
    values (p_user_id, p_source, now_at, now_at, now_at + interval '90 days')
    on conflict (user_id, source) do update
       set whole_at = now_at, logged_in_at = now_at, kept_until = now_at + interval '90 days';
    delete from login_sources
     where user_id = p_user_id
       and logged_in_at < (select k.logged_in_at from login_sources k
                            where k.user_id = p_user_id and k.logged_in_at is not null
                            order by k.logged_in_at desc offset 31 limit 1);
end $$;
