-- Reports that arrive before the execution which they name.
-- Lock: none that matters, everything is new. Undo: put what is in the table back into the inbox, then drop the table; put the
-- old functions back.

set local search_path = brokerage;

-- A bust or a correction whose execution is not known yet: visible, bounded in time, applied when the execution comes. It is
-- known by the id that it had in the inbox, and goes back there under it.
create table early_reports (
    user_id     uuid not null,
    inbox_id    bigint not null,
    order_id    uuid not null,
    venue       text not null,
    session     text not null,
    venue_seq   bigint not null,
    trade_date  date not null,
    ref_exec_id text not null,                     -- the execution that it waits for
    body        jsonb not null,
    received_at timestamptz not null,
    waits_until timestamptz not null,              -- then it is put aside, for a person
    primary key (user_id, inbox_id)
);
create index early_reports_waits_until on early_reports (waits_until);

-- It returns more columns now.
drop function if exists apply_reports_v1(bigint[], date, timestamptz);
