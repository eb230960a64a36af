-- The user exists in its cell: the claim is for good. Result: whether the claim stands. Harmless to repeat. Lock: the
-- claim.
create or replace function activate_email_claim_v1(p_email_hash bytea, p_user_id uuid)
returns boolean language plpgsql security definer set search_path from current as $$
begin
    update email_claims c
    set state = 'active', activated_at = coalesce(c.activated_at, clock_timestamp())
    where c.email_hash = p_email_hash and c.user_id = p_user_id;
    return found;
end $$;
revoke all on function activate_email_claim_v1 from public;
grant execute on function activate_email_claim_v1 to control_service, control_leader;
