-- Exchange the family's current refresh token for the next one, which follows from the one that is shown. A token that
-- is shown again within ten seconds of its first use is the same attempt, and gets the same next token, whether or not
-- that is spent too; later it means that a copy is about, and the family ends, as it does for any older token that was
-- current once. A secret that never was (p_is_ours: the family's key marked it) ends nothing.
-- Result: refreshed | reused | expired | unknown | DEPARTED | USER_HALTED (a token exchanged while the user moves would
-- be unknown to the new owner), and when the shown token was first used. Sixteen spent tokens are known by their time;
-- who turns over more within ten seconds and then repeats an older one is taken for a copy.
-- Should the clock step back by more than ten seconds, a repeat is taken for a copy too. Lock: the user's row, the
-- family's. 55P03: another writer has the user; the caller tries again, and keeps no connection from others meanwhile.
create or replace function refresh_session_v1(
    p_user_id uuid, p_family_id uuid, p_shown_hash bytea, p_next_hash bytea, p_is_ours boolean
) returns table (outcome text, first_used_at timestamptz) language plpgsql security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    family refresh_families;
    owned text;
    spent_index integer;
    now_at timestamptz;
begin
    perform from users where user_id = p_user_id for no key update nowait;
    select ownership_v1(owner_state, lease_ends_at) into owned from users where user_id = p_user_id;
    if owned is not null then
        return query select owned, null::timestamptz;
        return;
    end if;
    select * into family from refresh_families where user_id = p_user_id and family_id = p_family_id for update;
    if not found then
        return query select 'unknown', null::timestamptz;
        return;
    end if;
    now_at := clock_v1();
    spent_index := array_position(family.spent_hashes, p_shown_hash);
    if family.ended_at is not null or family.expires_at <= now_at then
        return query select 'expired', null::timestamptz;
    elsif family.current_hash = p_shown_hash then
        update refresh_families
           set current_hash = p_next_hash,
               spent_hashes = (p_shown_hash || family.spent_hashes)[1:16],
               spent_at = (now_at || family.spent_at)[1:16]
         where user_id = p_user_id and family_id = p_family_id;
        return query select 'refreshed', now_at;
    elsif family.spent_at[spent_index] > now_at - interval '10 seconds'
        and family.spent_at[spent_index] < now_at + interval '10 seconds' then
        return query select 'refreshed', family.spent_at[spent_index];
    elsif spent_index is not null or p_is_ours then
        update refresh_families set ended_at = now_at where user_id = p_user_id and family_id = p_family_id;
        return query select 'reused', null::timestamptz;
    else
        return query select 'unknown', null::timestamptz;
    end if;
end $$;
