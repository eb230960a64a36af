-- What a cell needs to run for years: an archive for what ended long ago, a record of every reconciliation, open orders that
-- are found among any number of closed ones, who lifted a restriction, and refresh families that can be pruned.
-- Lock: `orders` is rewritten for a derived column, exclusively, about 4 s per million rows: apply it in a quiet hour. The
-- indexes of `refresh_families` are built under a lock that lets it be read. All else is new, or instant.
-- Undo: while nothing is archived, put the view `order_history` of 0001 back and drop the rest.

set local search_path = brokerage;

-- Append-only by privilege: the service role may read, and writes through one procedure that only inserts.
create table reconciliations (
    run_id     uuid primary key,                   -- version 7, so it sorts by time
    started_at timestamptz not null,
    ended_at   timestamptz not null,
    as_of      timestamptz not null,               -- the one instant that checks and totals saw
    actor      text not null,
    verdict    text not null check (verdict in ('equal', 'different', 'incomplete')),
    checks     jsonb not null,                     -- [{name, violations, sample, duration_ms}]
    totals     jsonb not null,                     -- [{account, unit, debit_micros, credit_micros}]
    venue      jsonb not null,                     -- {asked, compared, differences, sample} or {asked: false, reason}
    events     jsonb not null,                     -- {asked, ..., missing} or {asked: false, reason}
    check (started_at <= ended_at)
);

-- A customer's open orders, however many have ended. The column is derived, and changes once in an order's life: an index
-- over the status itself would end HOT updates for every step, this one only for the last.
alter table orders add column is_open boolean not null generated always as
    (status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')) stored;
create index orders_open on orders (user_id, order_id) where is_open;

-- Who took the restriction off an account, and why. Append-only by privilege.
create table lifted_restrictions (
    user_id   uuid not null,
    write_seq bigint not null,
    actor     text not null,
    reason    text not null,
    at        timestamptz not null,
    primary key (user_id, write_seq)
);

-- Of a buy: how many shares of the symbol the customer owed before it; that much of it has no cost basis. A correction has
-- its fill's. Null: a sale, or written before this was kept, and then the whole trade counts.
alter table executions add column owed_micros bigint check (owed_micros >= 0);

create index refresh_families_expires_at on refresh_families using brin (expires_at);
create index refresh_families_ended_at on refresh_families (ended_at) where ended_at is not null;

-- What ended long ago, out of the way of what is written now: the append-only rows of closed orders, verbatim, by month.
-- Orders themselves stay where they are, small, so that reports, keys and lists find them. Partitions are made when their
-- first row comes. The service role has no right in this schema: rows come and go by procedure, and are read by the views.
create schema archive;

create table archive.order_events (like brokerage.order_events including defaults, month date not null,
    primary key (user_id, order_id, seq, month)) partition by range (month);
create table archive.executions (like brokerage.executions including defaults, month date not null,
    primary key (user_id, order_id, venue, session, trade_date, exec_id, month)) partition by range (month);
create table archive.journal_entries (like brokerage.journal_entries including defaults, month date not null,
    primary key (user_id, seq, month)) partition by range (month);
create table archive.postings (like brokerage.postings including defaults, month date not null,
    primary key (user_id, entry_seq, line, month)) partition by range (month);

-- Where an order's events and executions are: null, with what is written now.
alter table orders add column archived_month date;

-- Both places as one, for reads and for checks. Nothing that writes uses them.
create view all_order_events as
    select user_id, order_id, seq, stream_seq, from_status, to_status, reason, at, exec_id, last_qty_micros, last_px_micros,
           cum_qty_micros, cum_cost_micros, order_qty_micros
      from order_events
    union all
    select user_id, order_id, seq, stream_seq, from_status, to_status, reason, at, exec_id, last_qty_micros, last_px_micros,
           cum_qty_micros, cum_cost_micros, order_qty_micros
      from archive.order_events;
create view all_executions as
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros
      from executions
    union all
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros
      from archive.executions;
create view all_journal_entries as
    select user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash from journal_entries
    union all
    select user_id, seq, entry_id, kind, order_id, occurred_at, previous_hash, hash from archive.journal_entries;
create view all_postings as
    select user_id, entry_seq, line, account, unit, direction, amount_micros from postings
    union all
    select user_id, entry_seq, line, account, unit, direction, amount_micros from archive.postings;

create or replace view order_history as
    select user_id, order_id, seq, from_status, to_status, reason, at from all_order_events
    union all
    select e.user_id, e.order_id, v.seq, v.from_status, v.to_status, null, e.at
      from all_order_events e
      cross join (values (1, null, 'pending'), (2, 'pending', 'validated')) as v (seq, from_status, to_status)
     where e.seq = 3;
