-- Procedures that nobody calls any more go: an old form of one stays callable beside the new form, with the old promises.
-- Lock: none but a moment on each function. Undo: install the procedures of the release before.

set local search_path = brokerage;

-- Forms of releases before 0014, as far as no earlier migration dropped them in the database at hand.
drop function if exists place_orders_v1(uuid[], text[], bytea[], uuid[], text[], text[], text[], text[], text[], bigint[],
    bigint[], timestamptz, interval, boolean);
drop function if exists place_orders_v1(uuid[], text[], bytea[], uuid[], text[], text[], text[], text[], text[], bigint[],
    bigint[], timestamptz, interval, boolean, bigint[], text);
drop function if exists replace_orders_v1(uuid[], text[], bytea[], uuid[], uuid[], integer[], bigint[], bigint[], bigint[],
    text[], timestamptz, boolean, text);
drop function if exists held_by_buys_v1(uuid, text, bigint);
drop function if exists round_half_even_v1(numeric);

-- It asks who leads now; the other two, who does it and why.
drop function if exists delete_outbox_v1(bigint[]);
drop function if exists set_profile_v1(uuid, text);
drop function if exists end_refresh_families_v1(uuid, timestamptz, timestamptz);

-- The times at which an ended secret was used say nothing of it.
grant select (spent_at) on refresh_families to cell_auditor;
