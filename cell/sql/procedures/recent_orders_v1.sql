-- How many orders of a user's rolling record were accepted in the second and in the minute that end at p_at, and worth
-- how much: the windows are (p_at - 1 s, p_at] and (p_at - 1 min, p_at]; ats and worths are what the record keeps of
-- them, null for a profile that is not limited and keeps none.
-- p_at and what is kept are the database's clock, read after the user's lock. What lies a minute ahead was written by a
-- clock that has been put right since, here or in the cell that the user came from; nobody must wait for it to come.
create or replace function recent_orders_v1(
    p_ats timestamptz[], p_values bigint[], p_at timestamptz, p_limited boolean default true
) returns table (in_second bigint, in_minute bigint, value_in_minute numeric, ats timestamptz[], worths bigint[])
language sql immutable parallel safe
as $$
    select count(*) filter (where r.at > p_at - interval '1 second'), count(*), coalesce(sum(r.value), 0),
           case when p_limited then coalesce(array_agg(r.at), '{}') end,
           case when p_limited then coalesce(array_agg(r.value), '{}') end
      from unnest(p_ats, p_values) as r (at, value)
     where p_limited and r.at > p_at - interval '1 minute' and r.at < p_at + interval '1 minute'
$$;
