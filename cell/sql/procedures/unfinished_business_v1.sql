-- What of the user lies between this cell and the venue, so that the user cannot leave yet: reports for them would come
-- here, and nobody forwards them. Result: how many of each, only what there is; {} if the user may go. The caller has
-- locked the user.
create or replace function unfinished_business_v1(p_user_id uuid) returns jsonb
language plpgsql stable security definer
set search_path from current
as $$
begin
    return (select coalesce(jsonb_object_agg(f.what, f.number) filter (where f.number > 0), '{}') from (
        select 'orders at the venue' as what, count(*) as number from orders o
         where o.user_id = p_user_id and o.is_open and o.status not in ('queued', 'armed')
        union all
        select 'reports not applied', count(*) from inbox i where i.user_id = p_user_id
        union all
        select 'early reports', count(*) from early_reports e where e.user_id = p_user_id
        union all
        -- which numbers those are is in this cell's record of acts only
        select 'ranges of numbers that a restore has lost', count(*) from lost_sequences l where l.user_id = p_user_id
        union all
        select 'quarantined reports', count(*) from quarantined_reports q where q.user_id = p_user_id
        union all
        select 'instructions without an answer', count(*) from venue_instructions v
          join orders o on o.order_id = v.order_id where o.user_id = p_user_id and v.user_id = p_user_id
    ) f);
end $$;
