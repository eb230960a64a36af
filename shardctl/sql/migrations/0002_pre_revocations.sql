-- Why: an access token lives for fifteen minutes and is verified without asking anybody; this list makes the tokens of one
-- user void before that. Routers read it; rows are of no use once those tokens have expired.
-- Locks: none, everything is new. Undo: drop table control.revocations.

create table control.revocations (
    user_id uuid primary key,
    not_before_s bigint not null check (not_before_s > 0),
    actor text not null check (length(actor) between 1 and 200),
    reason text not null check (length(reason) between 1 and 2000),
    made_at timestamptz not null default clock_timestamp()
);
