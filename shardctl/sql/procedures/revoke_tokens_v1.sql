-- Make void what was issued to a user until now. A few seconds are added: a router's clock may be ahead of this one.
-- Entries older than an hour are removed; every token they were about has expired.
-- Result: the second before which the user's tokens are void. SQLSTATE: none of ours. Lock: the user's row.
create or replace function revoke_tokens_v1(p_user_id uuid, p_actor text, p_reason text)
returns bigint language plpgsql security definer set search_path from current as $$
declare
    now_s bigint := floor(extract(epoch from clock_v1()));
    found_s bigint;
begin
    delete from revocations where not_before_s < now_s - 3600;
    insert into revocations (user_id, not_before_s, actor, reason, made_at)
    values (p_user_id, now_s + 5, p_actor, p_reason, clock_v1())
    on conflict (user_id) do update
        set not_before_s = greatest(revocations.not_before_s,   -- by the clock after the wait for another revocation
                                    floor(extract(epoch from clock_v1()))::bigint + 5),
            actor = excluded.actor, reason = excluded.reason, made_at = clock_v1()
    returning not_before_s into found_s;
    return found_s;
end $$;
revoke all on function revoke_tokens_v1 from public;
grant execute on function revoke_tokens_v1 to control_leader;
