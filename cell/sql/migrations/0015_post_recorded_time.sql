-- The procedures that took times and ids from their callers go, and with the last caller what it recorded meanwhile is
-- brought up to: as in 0014, nobody's next time precedes what he has.
-- Lock: as in 0014. Undo: put the procedures of 0013's release back.

set local search_path = brokerage;
set local lock_timeout = '10s';

drop function if exists place_orders_v1(uuid[], text[], bytea[], uuid[], text[], text[], text[], text[], text[], bigint[], bigint[],
    timestamptz, interval, boolean, bigint[], text, bigint[]);
drop function if exists cancel_orders_v1(uuid[], text[], bytea[], uuid[], timestamptz, boolean);
drop function if exists replace_orders_v1(uuid[], text[], bytea[], uuid[], uuid[], integer[], bigint[], bigint[], bigint[], text[],
    timestamptz, boolean, text, text[]);
drop function if exists deposit_cash_v1(uuid[], text[], bytea[], uuid[], bigint[], timestamptz, boolean);
drop function if exists transfer_shares_v1(uuid[], text[], bytea[], uuid[], text[], bigint[], bigint[], boolean, timestamptz, boolean);
drop function if exists open_account_v1(uuid, bigint, text, text, text, text, timestamptz);
drop function if exists lift_restriction_v1(uuid, text, text, timestamptz);
drop function if exists claim_instructions_v1(integer, timestamptz);
drop function if exists cancel_unanswered_v1(uuid[], uuid[], timestamptz);
drop function if exists apply_reports_v1(bigint[], date, timestamptz);
drop function if exists acknowledge_orders_v1(bigint[], uuid[], timestamptz);
drop function if exists send_in_rounds_v1(uuid[], uuid[], text, text, boolean, timestamptz);
drop function if exists move_orders_v1(uuid[], uuid[], text[], text, text, text, timestamptz);

-- Whoever was here when the old procedures went; an account opened by new ones only has its own time, and is no less exact.
lock table users in exclusive mode;
update users u set recorded_at = greatest(u.recorded_at, n.at), recorded_since = greatest(u.recorded_at, n.at)
  from newest_times n where n.user_id = u.user_id;
drop view newest_times;
