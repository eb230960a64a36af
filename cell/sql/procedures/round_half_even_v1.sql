-- Banker's rounding of numerator / denominator to a whole number (denominator > 0): the rule for every posted amount; a
-- hold rounds up instead. By whole division and remainder: numeric's own division rounds its quotient first, which can
-- make a tie of what is none.
create or replace function round_half_even_v1(numerator numeric, denominator numeric) returns numeric
language sql immutable strict parallel safe
return div(numerator, denominator) + case
    when 2 * abs(mod(numerator, denominator)) > denominator then sign(numerator)
    when 2 * abs(mod(numerator, denominator)) = denominator
        then sign(numerator) * abs(mod(div(numerator, denominator), 2))
    else 0
end;
