-- Claims that have been pending for longer than an age: work for the sweep. The oldest of every cell first, then the
-- second of each: the claims of a cell that does not answer are in nobody's way. Takes no locks.
create or replace function pending_email_claims_v1(p_age interval, p_limit integer)
returns table (email_hash bytea, user_id uuid, cell_id text, age_s double precision)
language sql stable security definer set search_path from current as $$
    select c.email_hash, c.user_id, c.cell_id, extract(epoch from clock_timestamp() - c.claimed_at)::double precision
    from (select p.*, row_number() over (partition by p.cell_id order by p.claimed_at) as place
          from email_claims p
          where p.state = 'pending' and p.claimed_at < clock_timestamp() - p_age) c
    order by c.place, c.claimed_at
    limit least(p_limit, 1000)
$$;
revoke all on function pending_email_claims_v1 from public;
grant execute on function pending_email_claims_v1 to control_service, control_leader;
