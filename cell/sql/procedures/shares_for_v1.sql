-- How many micro-shares an amount of micro-dollars comes to at a price, rounded up: exactly, which a numeric quotient
-- is not.
create or replace function shares_for_v1(amount bigint, px bigint) returns numeric
language sql immutable parallel safe
return div(amount::numeric * 1000000 + px - 1, px::numeric);
