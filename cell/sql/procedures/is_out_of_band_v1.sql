-- Is a price that a customer asks for further from the reference than their profile allows, and outside of what the
-- venue itself admits? Exactly at the edge is inside. Without a price, or without a reference, there is nothing to
-- compare. The reference may be old: the last price known is the best measure of a slip of the finger, above all when
-- the market is silent.
create or replace function is_out_of_band_v1(
    px bigint, reference_px bigint, band_bps integer, venue_low_px bigint, venue_high_px bigint
) returns boolean
language sql immutable parallel safe
return coalesce(abs(px - reference_px) * 10000 > reference_px * band_bps, false)
   and coalesce(px < venue_low_px or px > venue_high_px, true);
