-- Commit a run of the venue's reports to the inbox; only then may they be acknowledged. Reports at or below the
-- session's committed sequence are repeats and are passed over. A gap in the sequence is refused whole: a report was
-- lost on the way.
-- Result: the session's committed sequence, and the inbox ids of what is new in order of the venue's sequence.
-- SQLSTATEs: RB020 gap in the sequence. Lock order: the session's row (one worker writes it), no user.
create or replace function accept_reports_v1(
    p_venue text, p_session text, p_seqs bigint[], p_order_ids uuid[], p_bodies jsonb[], p_at timestamptz
) returns table (received_seq bigint, inbox_id bigint, user_id uuid, venue_seq bigint)
language plpgsql security definer
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    before bigint;
    newest bigint;
    fresh bigint;
begin
    insert into venue_sessions (venue, session) values (p_venue, p_session) on conflict do nothing;
    select s.received_seq into before from venue_sessions s
     where s.venue = p_venue and s.session = p_session for no key update;
    select greatest(before, max(n)), count(distinct n) filter (where n > before) into newest, fresh
      from unnest(p_seqs) n;
    if newest - before <> fresh then
        raise exception 'reports % are missing between % and %', newest - before - fresh, before, newest
            using errcode = 'RB020';
    end if;
    update venue_sessions s set received_seq = newest where s.venue = p_venue and s.session = p_session;
    return query
    with new_rows as (
        insert into inbox (venue, session, venue_seq, user_id, order_id, body, received_at)
        select p_venue, p_session, r.seq, o.user_id, r.order_id, r.body, p_at
          from (select distinct on (seq) * from unnest(p_seqs, p_order_ids, p_bodies) as r (seq, order_id, body)
                 where seq > before order by seq) r
          -- a moved user's old copy is not the owner: the living copy's cell is where the report belongs
          left join lateral (select x.user_id from orders x where x.order_id = r.order_id limit 1) o on true
         order by r.seq
        returning id, user_id, venue_seq
    )
    select newest, n.id, n.user_id, n.venue_seq from new_rows n
    union all select newest, null, null, null where not exists (select from new_rows)
    order by 4;
end $$;
