-- Give an email back whose user was never created. Only a pending claim of that user, and only if nobody has resumed it
-- within the given age: a route token lives far shorter, so no creation can still be on its way.
-- Result: whether it was freed. Lock: the claim.
create or replace function free_email_claim_v1(p_email_hash bytea, p_user_id uuid, p_age interval)
returns boolean language plpgsql security definer set search_path from current as $$
declare
    held_cell text;
begin
    delete from email_claims c
    where c.email_hash = p_email_hash and c.user_id = p_user_id and c.state = 'pending'
        and c.claimed_at < clock_timestamp() - greatest(p_age, interval '5 minutes')
    returning c.cell_id into held_cell;
    if held_cell is null then
        return false;
    end if;
    update cell_loads l set users = users - 1 where l.cell_id = held_cell;
    return true;
end $$;
revoke all on function free_email_claim_v1 from public;
grant execute on function free_email_claim_v1 to control_service, control_leader;
