-- Begin a family of refresh tokens after a password was verified.
-- SQLSTATEs: RB011 the user is gone or was never here, RB012 halted: a session begun now would not move with the user.
-- 55P03: another writer has the user; the caller tries again, and keeps no connection from others meanwhile.
-- Lock: the user's row.
create or replace function brokerage.start_session_v1(
    p_user_id uuid, p_family_id uuid, p_hash bytea, p_at timestamptz, p_expires_at timestamptz
) returns void language plpgsql security definer
set search_path = brokerage, pg_temp
as $$
#variable_conflict use_column
declare
    owned text;
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
    insert into refresh_families (user_id, family_id, current_hash, created_at, expires_at)
    values (p_user_id, p_family_id, p_hash, p_at, p_expires_at);
end $$;
