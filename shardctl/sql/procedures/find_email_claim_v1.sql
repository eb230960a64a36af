-- Email hash -> user, for login. No row: nobody has this email, or not yet.
create or replace function control.find_email_claim_v1(p_email_hash bytea)
returns table (user_id uuid, cell_id text, state text)
language sql stable security definer set search_path = control, pg_temp as $$
    select c.user_id, c.cell_id, c.state from email_claims c where c.email_hash = p_email_hash
$$;
revoke all on function control.find_email_claim_v1 from public;
grant execute on function control.find_email_claim_v1 to control_service;
