-- The lowest price that a market sale by amount may trade at: 5 % below the reference, up to a whole tick.
create or replace function floor_px_v1(reference_px bigint) returns bigint
language sql immutable parallel safe
return case when reference_px * 95 > 100000000 then (reference_px * 95 + 999999) / 1000000 * 10000
            else (reference_px * 95 + 9999) / 10000 * 100 end;
