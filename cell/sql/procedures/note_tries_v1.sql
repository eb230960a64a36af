-- The venue was asked about these instructions once more and has not answered them; those of p_stuck_ids are for an
-- operator. Rows that somebody else has are being answered right now and are passed over: this call waits for nobody.
create or replace function note_tries_v1(p_ids bigint[], p_stuck_ids bigint[], p_at timestamptz) returns void
language sql security definer
set search_path from current
as $$
    update venue_instructions i
       set tries = i.tries + 1, tried_at = p_at,
           stuck_at = coalesce(i.stuck_at, case when i.id = any (p_stuck_ids) then p_at end)
      from (select id from venue_instructions where id = any (p_ids) order by id for no key update skip locked) f
     where i.id = f.id
$$;
