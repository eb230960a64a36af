-- A new id that sorts by a recorded time: UUID version 7, 48 bits of milliseconds, then the microseconds inside the
-- millisecond as 12 bits of binary fraction (RFC 9562, 6.2, method 3), then the variant and 62 random bits. Two
-- recorded times of one user differ by a microsecond at least, so their ids are in the order of their writes.
-- The random bits tell apart what users do in one microsecond. An id is no secret, so they come from random(), which
-- each session seeds well; gen_random_uuid() asks the operating system each time and costs a tenth of placing an order.
create or replace function time_ordered_id_v1(recorded_at timestamptz) returns uuid
language sql volatile
return (lpad(to_hex(((extract(epoch from recorded_at) * 1000000)::bigint / 1000 << 16) + 28672      -- 28672: version 7
                    + (extract(epoch from recorded_at) * 1000000)::bigint % 1000 * 4096 / 1000), 16, '0')
        || to_hex(random(-9223372036854775808, -4611686018427387905)))::uuid;       -- 8000... to bfff...
