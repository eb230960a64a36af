-- The lines of a report's own entry: what has changed, one line per account, in this order; as arrays, with each line
-- in the form that the entry's hash takes (posting_line_v1). All null if nothing has changed. Cash and amounts in
-- micro-dollars, shares in micro-shares; a negative change is a debit. Inlined.
create or replace function report_lines_v1(
    p_symbol text, p_cash_held bigint, p_cash bigint, p_clearing bigint, p_shares_held bigint, p_shares bigint
) returns table (accounts text[], units text[], directions text[], amounts bigint[], hashed text[])
language sql immutable
as $$
    select array_agg(n.account order by n.line), array_agg(n.unit order by n.line),
           array_agg(n.direction order by n.line), array_agg(n.amount order by n.line),
           array_agg(posting_line_v1(n.line, n.account, n.unit, n.direction, n.amount) order by n.line)
      from (select row_number() over (order by v.place)::integer as line, v.account, v.unit,
                   case when v.change < 0 then 'debit' else 'credit' end as direction, abs(v.change) as amount
              from (values (1, 'cash_held', 'USD', p_cash_held), (2, 'cash', 'USD', p_cash),
                           (3, 'clearing', 'USD', p_clearing), (4, 'shares_held', p_symbol, p_shares_held),
                           (5, 'shares', p_symbol, p_shares),
                           (6, 'clearing', p_symbol, -(p_shares_held + p_shares))) as v (place, account, unit, change)
             where v.change <> 0) n
$$;
