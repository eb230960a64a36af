-- End the user's families of refresh tokens that were begun before a moment: what a thief holds is worth nothing any
-- more, and a session begun after it stays, however late this call comes. Harmless to repeat.
-- Who did it and why is kept, each time. Result: how many ended now; null if the user was never here.
-- SQLSTATEs: RB011 the user left, RB012 halted: an end written during a move would stay behind. Lock: the user's row.
create or replace function end_refresh_families_v1(
    p_user_id uuid, p_begun_before timestamptz, p_at timestamptz, p_actor text, p_reason text
) returns bigint language plpgsql security definer
set search_path from current
as $$
declare
    owned text;
    ended bigint;
begin
    perform from users where user_id = p_user_id for no key update;
    if not found then
        return null;
    end if;
    select ownership_v1(owner_state, lease_ends_at) into owned from users where user_id = p_user_id;
    if owned = 'DEPARTED' then
        raise exception 'the user left this cell' using errcode = 'RB011';
    elsif owned is not null then
        raise exception 'the user is halted' using errcode = 'RB012';
    end if;
    update refresh_families set ended_at = p_at
     where user_id = p_user_id and created_at < p_begun_before and ended_at is null;
    get diagnostics ended = row_count;
    perform record_act_v1(p_actor, 'end_sessions', p_user_id, p_reason,
                          jsonb_build_object('begun_before', p_begun_before, 'ended', ended));
    return ended;
end $$;
