-- Claim an email for a new user before the user exists anywhere.
-- Result: outcome and the claim that stands. Outcomes: claimed (new), resumed (same key and request, still pending: its age starts
-- again, so the sweep leaves it alone), replayed (same key and request, active), key_reused, email_taken.
-- Lock: the claim's row. Safe under races: two unique keys decide, and a claim freed meanwhile is tried again.
create or replace function control.claim_email_v1(
    p_email_hash bytea, p_idempotency_key text, p_fingerprint bytea, p_user_id uuid, p_cell_id text,
    out outcome text, out user_id uuid, out cell_id text
) language plpgsql security definer set search_path = control, pg_temp as $$
declare
    held email_claims;
begin
    for attempt in 1..5 loop
        insert into email_claims as made (email_hash, user_id, cell_id, state, idempotency_key, fingerprint)
        values (p_email_hash, p_user_id, p_cell_id, 'pending', p_idempotency_key, p_fingerprint)
        on conflict do nothing;
        if found then
            update cell_loads l set users = users + 1 where l.cell_id = p_cell_id;
            select 'claimed', p_user_id, p_cell_id into outcome, user_id, cell_id;
            return;
        end if;
        select * into held from email_claims c where c.idempotency_key = p_idempotency_key for update;
        if found then
            select held.user_id, held.cell_id into user_id, cell_id;
            if held.email_hash <> p_email_hash or held.fingerprint <> p_fingerprint then
                outcome := 'key_reused';
            elsif held.state = 'active' then
                outcome := 'replayed';
            else
                update email_claims c set claimed_at = clock_timestamp() where c.email_hash = p_email_hash;
                outcome := 'resumed';
            end if;
            return;
        end if;
        perform 1 from email_claims c where c.email_hash = p_email_hash;
        if found then
            outcome := 'email_taken';
            return;
        end if;
    end loop;
    raise exception 'the claim would not settle' using errcode = 'RBC05';
end $$;
revoke all on function control.claim_email_v1 from public;
grant execute on function control.claim_email_v1 to control_service;
