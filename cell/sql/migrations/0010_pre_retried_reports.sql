-- Who told the cell to judge a quarantined report again, and why.
-- Lock: none, the table is new. Undo: drop the table.

set local search_path = brokerage;

-- Append-only by privilege. The report itself is in the inbox again, and then in the books or in the quarantine under a new id.
create table retried_reports (
    quarantine_id bigint primary key,
    inbox_id      bigint not null,
    user_id       uuid,
    order_id      uuid,
    venue         text not null,
    session       text not null,
    venue_seq     bigint not null,
    was_aside_for text not null,                   -- why it had been put aside
    actor         text not null,
    reason        text not null,
    at            timestamptz not null
);
