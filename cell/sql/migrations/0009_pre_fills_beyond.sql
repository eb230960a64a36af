-- Fills and corrections that are beyond their order's quantity or amount until something else is taken back.
-- Lock: early_reports alone, and that for milliseconds; it holds few rows. Undo: put what waits for room into
-- quarantined_reports, make ref_exec_id mandatory, drop the columns; put the old functions back.

set local search_path = brokerage;

-- Told as "fill A, fill B, bust of A" where the venue did "A, bust of A, B", B is beyond the order until A's bust is known.
alter table early_reports
    alter column ref_exec_id drop not null,                 -- null: a fill, it refers to none
    add column room_qty_micros bigint check (room_qty_micros > 0),   -- so much of the order's quantity must be free first
    add column room_cost_exact numeric check (room_cost_exact > 0),  -- so much of its amount, exact, in 1e-12 dollars
    add check (num_nonnulls(room_qty_micros, room_cost_exact) = 1
               or num_nonnulls(room_qty_micros, room_cost_exact) = 0 and ref_exec_id is not null),
    -- said to people: in the worker's log, and where early reports are listed
    add column waits_for text not null generated always as (
        case when room_qty_micros is not null then 'room for ' || room_qty_micros::text || ' micros of the order''s quantity'
             when room_cost_exact is not null
                 then 'room for ' || ceil(room_cost_exact / 1000000)::text || ' micros of the order''s amount'
             else 'execution ' || ref_exec_id end) stored;

-- They return more columns now.
drop function if exists apply_reports_v1(bigint[], date, timestamptz);
drop function if exists end_early_reports_v1(timestamptz, integer);
