-- Keep the newest run of the ledger checks. An older one changes nothing: two runs may end in either order.
-- Lock: the table's only row.
create or replace function record_ledger_checks_v1(
    p_as_of timestamptz, p_checks integer, p_violations bigint, p_broken text[]
) returns void
language sql security definer
set search_path from current
as $$
    insert into ledger_checks as c (as_of, checks, violations, broken)
    values (p_as_of, p_checks, p_violations, p_broken)
        on conflict (is_only) do update
       set as_of = excluded.as_of, checks = excluded.checks, violations = excluded.violations, broken = excluded.broken
     where c.as_of < excluded.as_of
$$;
