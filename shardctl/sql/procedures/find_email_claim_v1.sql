-- Hashes of an email -> user, for login; of several claims the one whose hash is named first. No row: nobody has this
-- email, or not yet.
create or replace function find_email_claim_v1(p_email_hashes bytea[])
returns table (user_id uuid, cell_id text, state text)
language sql stable security definer set search_path from current as $$
    select c.user_id, c.cell_id, c.state from email_claims c where c.email_hash = any (p_email_hashes)
    order by array_position(p_email_hashes, c.email_hash) limit 1
$$;
revoke all on function find_email_claim_v1 from public;
grant execute on function find_email_claim_v1 to control_service, control_leader;
