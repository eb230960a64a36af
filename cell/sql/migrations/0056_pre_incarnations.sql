-- A cell that was restored from a backup is another incarnation of it, fenced until a person opens it.
-- Lock: none, everything is new. Undo: drop the function with its triggers (cascade), then the table.

set local search_path = brokerage;

-- One row for each restore; the newest is what this database is. None: it was never restored. The name of the newest
-- also stands outside the data directory, so that a copy of the wrong one is noticed (`cell/leadership.py`).
create table incarnations (
    incarnation_id uuid primary key,
    began_at       timestamptz not null,
    backup         text not null,                  -- the label it was restored from
    restored_to    timestamptz,                    -- by the database server's clock; null: as far as the log went
    actor          text not null check (length(actor) between 1 and 200),
    reason         text not null check (length(reason) between 1 and 500),
    opened_at      timestamptz,                    -- null: fenced
    opened_by      text,
    opened_reason  text,
    opened_run     uuid,                           -- the reconciliation that was looked at
    despite        boolean,                        -- it had found something
    users_halted   integer                         -- who stay read-only: others know more of them than we do
);
create unique index incarnations_fenced on incarnations ((true)) where opened_at is null;  -- one at a time

-- The fence: on every table of the books while the cell is fenced (`fence_cell_v1`), nowhere else, so that it costs a
-- cell that is open nothing. It holds off all that the service role does, whatever it calls; the owner migrates.
create function refuse_while_fenced() returns trigger language plpgsql
set search_path = brokerage, pg_temp as $$
begin
    if pg_has_role(session_user, (select nspowner from pg_namespace where nspname = 'brokerage'), 'usage') then
        return null;
    end if;
    raise exception 'the cell was restored and is fenced: nothing is written until it is opened'
        using errcode = 'RB041';
end $$;
