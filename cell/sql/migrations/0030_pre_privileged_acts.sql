-- What operators did: who, when, what, to whom, and why.
-- Lock: none, the table is new. Undo: drop the table.

set local search_path = brokerage;

-- Append-only by privilege: the service role reads it, and writes through procedures that only insert. A restriction that was
-- lifted, a report that was judged again and a reconciliation have tables of their own.
create table privileged_acts (
    act_id  bigint generated always as identity primary key,
    at      timestamptz not null,
    actor   text not null check (length(actor) between 1 and 200),
    act     text not null check (act ~ '^[a-z_]{1,50}$'),
    user_id uuid,                                  -- to whom, if to one user
    reason  text check (length(reason) between 1 and 500),   -- null: a schedule decides, nobody was asked for one
    details jsonb not null                         -- what was before and is now
);
create index privileged_acts_user on privileged_acts (user_id, act_id) where user_id is not null;
