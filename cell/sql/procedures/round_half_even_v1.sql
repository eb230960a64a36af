-- Banker's rounding of an exact numeric to a whole number: the rule for every posted amount (a hold rounds up instead).
create or replace function brokerage.round_half_even_v1(exact numeric) returns numeric
language sql immutable strict parallel safe
return case when abs(exact - trunc(exact)) = 0.5 then 2 * round(exact / 2) else round(exact) end;
