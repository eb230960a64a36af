-- Stops, the market's calendar, orders that wait for the open, the end of the day, and instructions without an answer.
-- Lock: `orders` and `venue_instructions` exclusively for a moment (columns without a value, an index that is empty at first).
-- Undo: drop the three tables, the three columns and the function; nothing else refers to them.

set local search_path = brokerage;

-- Stop orders that are not triggered, one small row each: finding them costs what is found, and orders keep their HOT
-- updates, which an index over an order's status would end. Written under the user's lock, like everything of a user.
create table armed_stops (
    user_id        uuid not null,
    order_id       uuid not null,
    symbol         text not null,
    side           text not null check (side in ('buy', 'sell')),
    stop_px_micros bigint not null check (stop_px_micros > 0),
    armed_at       timestamptz not null,           -- only a price told later triggers it; an earlier one was seen at entry
    primary key (user_id, order_id)
);
create index armed_stops_px on armed_stops (symbol, side, stop_px_micros);

-- The market's regular sessions, from a calendar library, written by `python -m cell migrate`. No process that serves
-- customers computes a calendar. `expired_at`: every day order of this session has ended.
create table market_sessions (
    trade_date date primary key,
    opens_at   timestamptz not null,
    closes_at  timestamptz not null,
    expired_at timestamptz,
    check (opens_at < closes_at)
);
create unique index market_sessions_closes_at on market_sessions (closes_at);

-- Orders that came outside the session and wait for the open.
create table queued_orders (
    user_id    uuid not null,
    order_id   uuid not null,
    release_at timestamptz not null,
    primary key (user_id, order_id)
);
create index queued_orders_release_at on queued_orders (release_at, order_id);

-- When an order that is not good till cancelled ends: the close of its session; null where the market never closes.
-- Never updated, so updates of orders stay HOT; one key for a whole day, so the index is small.
alter table orders add column expires_at timestamptz;
create index orders_expires_at on orders (expires_at, order_id) where expires_at is not null;

-- `expire` is a cancel that nobody asked for: the order ends `expired` when the venue confirms it.
alter table venue_instructions drop constraint venue_instructions_action_check;
alter table venue_instructions add constraint venue_instructions_action_check
    check (action in ('submit', 'cancel', 'replace', 'expire'));
-- What the sweep tried since the venue was told, when it tried last, and since when an operator should look.
alter table venue_instructions
    add column tries integer not null default 0,
    add column tried_at timestamptz,
    add column stuck_at timestamptz;

-- Its procedure has further parameters with defaults now; two overloads of one name would be ambiguous.
drop function if exists place_orders_v1(
    uuid[], text[], bytea[], uuid[], text[], text[], text[], text[], text[], bigint[], bigint[], timestamptz, interval, boolean);
