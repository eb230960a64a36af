-- Claim an email for a new user before the user exists anywhere. An email has one hash or more: claims are made under
-- the first and found under any (the others are how earlier releases spelled it); fingerprints of the request stand
-- beside them.
-- Result: outcome and the claim that stands. Outcomes: claimed (new), resumed (same key and request, still pending: its
-- age starts again, so the sweep leaves it alone), replayed (same key and request, active), key_reused (same key,
-- another request), email_taken (another key, or one that is older than its retention of seven days: it stands for
-- nothing any more).
-- A key is its person's: two emails never meet in it.
-- Lock: the claim's row. Safe under races: the unique hash decides, and a claim freed meanwhile is tried again.
create or replace function claim_email_v1(
    p_email_hashes bytea[], p_fingerprints bytea[], p_idempotency_key text, p_user_id uuid, p_cell_id text,
    out outcome text, out email_hash bytea, out user_id uuid, out cell_id text
) language plpgsql security definer set search_path from current as $$
declare
    held email_claims;
begin
    for attempt in 1..5 loop
        select c.* into held from email_claims c where c.email_hash = any (p_email_hashes)
        order by c.idempotency_key = p_idempotency_key desc, array_position(p_email_hashes, c.email_hash)
        limit 1 for update;
        if not found then
            insert into email_claims as made (email_hash, user_id, cell_id, state, idempotency_key, fingerprint)
            values (p_email_hashes[1], p_user_id, p_cell_id, 'pending', p_idempotency_key, p_fingerprints[1])
            on conflict do nothing;
            if found then
                update cell_loads l set users = users + 1 where l.cell_id = p_cell_id;
                select 'claimed', p_email_hashes[1], p_user_id, p_cell_id into outcome, email_hash, user_id, cell_id;
                return;
            end if;
            continue;
        end if;
        if held.idempotency_key <> p_idempotency_key
            or held.state = 'active' and held.activated_at < clock_timestamp() - interval '7 days' then
            outcome := 'email_taken';
        elsif held.fingerprint <> p_fingerprints[array_position(p_email_hashes, held.email_hash)] then
            outcome := 'key_reused';
        else
            select held.email_hash, held.user_id, held.cell_id into email_hash, user_id, cell_id;
            if held.state = 'active' then
                outcome := 'replayed';
            else
                update email_claims c set claimed_at = clock_timestamp() where c.email_hash = held.email_hash;
                outcome := 'resumed';
            end if;
        end if;
        return;
    end loop;
    raise exception 'the claim would not settle' using errcode = 'RBC05';
end $$;
revoke all on function claim_email_v1 from public;
grant execute on function claim_email_v1 to control_service;
