-- Exchange the family's current refresh token for a new one. Showing any other token of the family means that a copy is
-- about: the family ends. But if the new one is the current one already, this exchange was done before and its answer was
-- lost: it is the same exchange, not a copy.
-- Result: refreshed | reused | expired | unknown | DEPARTED | USER_HALTED (a token exchanged while the user moves would be
-- unknown to the new owner, and its next use would look like a copy). Lock: the user's row.
-- 55P03: another writer has the user; the caller tries again, and keeps no connection from others meanwhile.
create or replace function brokerage.refresh_session_v1(
    p_user_id uuid, p_family_id uuid, p_shown_hash bytea, p_new_hash bytea, p_at timestamptz
) returns text language plpgsql security definer
set search_path = brokerage, pg_temp
as $$
#variable_conflict use_column
declare
    family refresh_families;
    owned text;
begin
    perform from users where user_id = p_user_id for no key update nowait;
    select ownership_v1(owner_state, lease_ends_at) into owned from users where user_id = p_user_id;
    if owned is not null then
        return owned;
    end if;
    select * into family from refresh_families where user_id = p_user_id and family_id = p_family_id for update;
    if not found then
        return 'unknown';
    elsif family.ended_at is not null or family.expires_at <= p_at then
        return 'expired';
    elsif family.current_hash = p_new_hash then
        return 'refreshed';
    elsif family.current_hash <> p_shown_hash then
        update refresh_families set ended_at = p_at where user_id = p_user_id and family_id = p_family_id;
        return 'reused';
    end if;
    update refresh_families set current_hash = p_new_hash where user_id = p_user_id and family_id = p_family_id;
    return 'refreshed';
end $$;
