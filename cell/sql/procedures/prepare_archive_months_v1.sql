-- Make the archive's partitions of the months that an arriving user's rows need, if they are not there. Result: none.
-- At most 1,200 months: a century. Lock: as ensure_archive_month_v1.
create or replace function prepare_archive_months_v1(p_months date[]) returns void
language sql security definer
set search_path from current
as $$
    select ensure_archive_month_v1(m.month)
      from (select distinct date_trunc('month', u.month)::date as month from unnest(p_months[1:1200]) as u (month)) m
$$;
