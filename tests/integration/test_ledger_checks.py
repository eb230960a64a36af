"""The checks of the books: green on everything the procedures write, and each corruption is found under its name."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
import pytest

from cell.ledger.trial_balance import SAMPLE_ROWS_MAX, TrialBalance, read_checks, run_trial_balance
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Corruption:
    """What somebody with every privilege does to the books, and the checks that must speak; others may, too."""

    name: str
    deed: LiteralString
    found_by: tuple[str, ...]


CORRUPTIONS = (
    Corruption(
        "changed amount",
        "update postings set amount_micros = amount_micros + 1 "
        "where ctid = (select ctid from postings where account = 'cash' limit 1)",
        ("entries_balance", "cash_equals_postings", "chain_verifies"),
    ),
    Corruption(
        "changed amount on both sides",
        """update postings p set amount_micros = amount_micros + 1 from journal_entries e
            where e.user_id = p.user_id and e.seq = p.entry_seq and e.seq = 1 and e.kind = 'deposit'
              and e.user_id = (select min(user_id::text)::uuid from users)""",
        ("cash_equals_postings", "chain_verifies", "transfers_equal_postings"),
    ),
    Corruption(
        "deleted posting",
        "delete from postings where ctid = (select ctid from postings where line = 1 limit 1)",
        ("entries_balance", "entries_have_postings", "chain_verifies"),
    ),
    Corruption(
        "deleted entry and its postings",
        """with gone as (delete from journal_entries
                          where ctid = (select ctid from journal_entries where kind = 'hold' limit 1)
                      returning user_id, seq)
           delete from postings p using gone where p.user_id = gone.user_id and p.entry_seq = gone.seq""",
        ("sequences_have_no_gaps", "chain_verifies", "orders_have_their_hold", "holds_equal_postings"),
    ),
    Corruption(
        "posting moved to another account",
        "update postings set account = 'fees' where ctid = (select ctid from postings where account = 'bank' limit 1)",
        ("chain_verifies", "transfers_equal_postings"),
    ),
    Corruption(
        "shares booked on a cash account",
        "update postings set account = 'bank' "
        "where ctid = (select ctid from postings where account = 'transfer_agent' limit 1)",
        ("accounts_use_their_units", "chain_verifies"),
    ),
    Corruption(
        "entry dated back",
        "update journal_entries set occurred_at = occurred_at - interval '1 day' where seq = 2",
        ("chain_verifies",),
    ),
    Corruption(
        "chain link replaced",
        "update journal_entries set hash = sha256(hash) "
        "where ctid = (select ctid from journal_entries where seq = 3 limit 1)",
        ("chain_verifies",),
    ),
    Corruption(
        "chain head moved",
        "update users set chain_head = sha256(chain_head) where user_id = (select min(user_id::text)::uuid from users)",
        ("chain_verifies",),
    ),
    Corruption(
        "last entry cut off, head kept",
        """with last as (select user_id, max(seq) as seq from journal_entries group by user_id limit 1)
           delete from journal_entries e using last where e.user_id = last.user_id and e.seq = last.seq""",
        ("chain_verifies", "sequences_have_no_gaps", "entries_have_postings"),
    ),
    Corruption(
        "drifted cash",
        "update users set cash_micros = cash_micros + 1 where user_id = (select min(user_id::text)::uuid from users)",
        ("cash_equals_postings",),
    ),
    Corruption(
        "drifted held cash",
        "update users set cash_held_micros = cash_held_micros + 1 "
        "where user_id = (select min(user_id::text)::uuid from users)",
        ("cash_equals_postings", "holds_equal_open_orders"),
    ),
    Corruption(
        "drifted position",
        "update positions set qty_micros = qty_micros + 1 where ctid = (select ctid from positions limit 1)",
        ("shares_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "deleted position",
        "delete from positions where ctid = (select ctid from positions where qty_micros > 0 limit 1)",
        ("shares_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "drifted cost basis",
        "update positions set cost_basis_micros = cost_basis_micros - 1 "
        "where ctid = (select ctid from positions limit 1)",
        ("positions_equal_executions",),
    ),
    Corruption(
        "cost basis of one sale",
        """update executions set basis_micros = basis_micros + 1
            where ctid = (select ctid from executions where side = 'sell' limit 1)""",
        ("positions_equal_executions",),
    ),
    Corruption(
        "amount of an order that holds it",
        "update orders set notional_micros = notional_micros + 1 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'buy' and status in ('routed', 'partially_filled') limit 1)",
        ("orders_have_their_hold", "open_orders_keep_their_hold"),
    ),
    Corruption(
        "amount below what was traded for it",
        "update orders set notional_micros = notional_micros / 2 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'sell' and status = 'filled' limit 1)",
        ("orders_equal_executions",),
    ),
    Corruption(
        "shares taken from an open sale by amount",
        "update orders set held_shares_micros = held_shares_micros - 1 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'sell' and status = 'routed' limit 1)",
        ("orders_have_their_hold", "holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "released hold on an open order",
        "update orders set held_cash_micros = 0 "
        "where ctid = (select ctid from orders where held_cash_micros > 5000 limit 1)",
        ("holds_equal_open_orders", "holds_equal_postings", "open_orders_keep_their_hold"),
    ),
    Corruption(
        "hold left on an ended order",
        """update orders set held_shares_micros = 5
            where ctid = (select ctid from orders where status = 'filled' and side = 'sell' limit 1)""",
        ("holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "edited status",
        "update orders set status = 'cancelled' where ctid = (select ctid from orders where status = 'filled' "
        "and order_qty_micros is not null limit 1)",
        ("order_status_follows_events", "orders_equal_executions"),
    ),
    Corruption(
        "illegal transition, told consistently",
        """with victim as (select user_id, order_id, event_seq from orders where status = 'rejected' limit 1),
                told as (update order_events e set to_status = 'partially_filled' from victim v
                          where e.user_id = v.user_id and e.order_id = v.order_id and e.seq = v.event_seq),
                before as (update order_events e set to_status = 'pending_cancel' from victim v
                            where e.user_id = v.user_id and e.order_id = v.order_id and e.seq = 3)
           update orders o set status = 'partially_filled' from victim v
            where o.user_id = v.user_id and o.order_id = v.order_id""",
        ("order_status_follows_events", "orders_equal_executions"),
    ),
    Corruption(
        "missing event",
        """delete from order_events where ctid =
               (select e.ctid from order_events e join orders o using (user_id, order_id)
                 where e.to_status = 'routed' and o.status = 'filled' limit 1)""",
        ("order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "stream number used twice",
        """update order_events set stream_seq = stream_seq - 1
            where ctid = (select ctid from order_events where stream_seq = 5 limit 1)""",
        ("sequences_have_no_gaps",),
    ),
    Corruption(
        "missing fill event",
        "delete from order_events where ctid = (select ctid from order_events where exec_id is not null limit 1)",
        ("fills_have_events", "order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "fill told at another price",
        """update order_events set last_px_micros = last_px_micros + 10000
            where ctid = (select ctid from order_events where exec_id is not null limit 1)""",
        ("fills_have_events",),
    ),
    Corruption(
        "order without events",
        "delete from order_events where order_id = (select order_id from orders limit 1)",
        ("order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "changed filled quantity",
        "update orders set cum_qty_micros = cum_qty_micros - 1 "
        "where ctid = (select ctid from orders where status = 'filled' limit 1)",
        ("orders_equal_executions", "order_status_follows_events"),
    ),
    Corruption(
        "deleted execution",
        "delete from executions where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted", "fills_have_events", "positions_equal_executions"),
    ),
    Corruption(
        "execution at another price",
        "update executions set last_px_micros = last_px_micros + 10000 "
        "where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted", "fills_have_events"),
    ),
    Corruption(
        "execution on the other side",
        "update executions set side = case side when 'buy' then 'sell' else 'buy' end "
        "where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted"),
    ),
    Corruption(
        "accepted order without its entry",
        """with victim as (select user_id, order_id from orders where status = 'routed' limit 1)
           update journal_entries e set order_id = null from victim v
            where e.user_id = v.user_id and e.order_id = v.order_id and e.kind = 'hold'""",
        ("orders_have_their_hold", "chain_verifies"),
    ),
    Corruption(
        "forgotten order",
        "delete from venue_instructions where action = 'submit'",
        ("open_orders_are_on_their_way",),
    ),
    Corruption(
        "overdraft without restriction",
        "update users set restricted = false",
        ("overdraft_only_if_restricted",),
    ),
    Corruption(
        "deposit nobody made",
        "update deposits set amount_micros = amount_micros + 1 where ctid = (select ctid from deposits limit 1)",
        ("transfers_equal_postings",),
    ),
    Corruption(
        "deleted share transfer",
        "delete from share_transfers where ctid = (select ctid from share_transfers limit 1)",
        ("transfers_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "outbox row of an event that is not there",
        "update outbox set order_event_seq = 99 "
        "where id = (select min(id) from outbox where order_event_seq is not null)",
        ("outbox_refers_to_rows",),
    ),
    Corruption(
        "outbox row lost in the middle",
        "delete from outbox where id = (select min(id) + (max(id) - min(id)) / 2 from outbox)",
        ("outbox_has_no_gaps",),
    ),
    Corruption(
        "replacement that its order does not know",
        "update orders set replaced_by = null where ctid = (select ctid from orders where status = 'replaced' limit 1)",
        ("replacements_are_linked",),
    ),
    Corruption(
        "bust forgotten",
        """delete from executions where ctid = (select ctid from executions where kind = 'bust' limit 1)""",
        ("orders_equal_executions", "fills_are_posted", "positions_equal_executions", "fills_have_events"),
    ),
    Corruption(
        "hold of a pending replacement lowered",
        """update orders set held_cash_micros = held_cash_micros / 2
            where ctid = (select ctid from orders where status = 'pending_replace' and held_cash_micros > 0 limit 1)""",
        ("open_orders_keep_their_hold", "holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "write without an outbox row",
        """with last as (select distinct on (user_id) id from outbox order by user_id, id desc)
           delete from outbox o using last where o.id = last.id""",
        ("outbox_has_no_gaps",),
    ),
    Corruption(
        "deleted idempotency key",
        "delete from idempotency_keys "
        "where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "acceptance turned into a refusal",
        """update idempotency_keys set outcome = 'INSUFFICIENT_BUYING_POWER', resource_id = null
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "key that will be forgotten too early",
        "update idempotency_keys set at = at - interval '3 days' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "first answer lost",
        """update idempotency_keys set figures = '{}' where ctid = (
               select k.ctid from idempotency_keys k join orders o on o.order_id = k.resource_id
                where o.side = 'sell' and o.replaces is null and k.outcome = 'accepted' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "first answer with another hold",
        """update idempotency_keys set figures = figures || '{"held": 1}' where ctid = (
               select k.ctid from idempotency_keys k join orders o on o.order_id = k.resource_id
                where o.side = 'buy' and o.replaces is null and k.outcome = 'accepted' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "cancel turned into a refusal",
        "update idempotency_keys set outcome = 'ORDER_NOT_OPEN' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'pending_cancel' limit 1)",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "pending cancel told as done",
        "update idempotency_keys set outcome = 'cancelled' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'pending_cancel' limit 1)",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "refused replacement of nobody's order",
        "update orders set replaces = gen_random_uuid() "
        "where ctid = (select ctid from orders where replaces is not null and status = 'rejected' limit 1)",
        ("replacements_are_linked",),
    ),
    Corruption(
        "key that names somebody else's order",
        """update idempotency_keys k
              set resource_id = (select order_id from orders o where o.user_id <> k.user_id limit 1)
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "key given to another user",
        """update idempotency_keys k set user_id = (select user_id from users u where u.user_id <> k.user_id limit 1)
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "limit price of a resting sale",
        """update orders set limit_px_micros = limit_px_micros + 10000
            where ctid = (select ctid from orders where side = 'sell' and status = 'routed' limit 1)""",
        ("keys_name_their_deeds",),
    ),
    Corruption(
        "limit price of a resting purchase",
        """update orders set limit_px_micros = limit_px_micros - 10000
            where ctid = (select ctid from orders where side = 'buy' and status = 'routed' limit 1)""",
        ("orders_keep_their_terms",),
    ),
    Corruption(
        "another type of order",
        "update orders set type = 'market' where ctid = (select ctid from orders where status = 'routed' limit 1)",
        ("orders_keep_their_terms",),
    ),
    Corruption(
        "forgotten writes",
        "update users set write_seq = 1 where user_id = (select min(user_id::text)::uuid from users)",
        ("orders_keep_their_terms", "outbox_is_in_order"),
    ),
    Corruption(
        "moved time of an order's first step",
        "update order_events set at = at - interval '1 hour' "
        "where ctid = (select ctid from order_events where seq = 3 limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "moved time of a fill",
        "update order_events set at = at - interval '1 hour' "
        "where ctid = (select ctid from order_events where exec_id is not null limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "order dated back",
        "update orders set created_at = created_at - interval '1 day' where ctid = (select ctid from orders limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "deposit dated back",
        "update deposits set at = at - interval '1 day' where ctid = (select ctid from deposits limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "share transfer dated back",
        "update share_transfers set at = at - interval '1 day' where ctid = (select ctid from share_transfers limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "outbox row dated back",
        "update outbox set occurred_at = occurred_at - interval '1 day' where id = (select max(id) from outbox)",
        ("times_agree",),
    ),
    Corruption(
        "filled quantity told wrong on the way",
        """update order_events set cum_qty_micros = cum_qty_micros + 1 where ctid = (
               select e.ctid from order_events e
                 join order_events n on n.user_id = e.user_id and n.order_id = e.order_id and n.seq = e.seq + 1
                  and n.cum_qty_micros > e.cum_qty_micros limit 1)""",
        ("events_add_up",),
    ),
    Corruption(
        "posted cost told wrong on the way",
        """update order_events set cum_cost_micros = cum_cost_micros + 1 where ctid = (
               select e.ctid from order_events e
                 join order_events n on n.user_id = e.user_id and n.order_id = e.order_id and n.seq = e.seq + 1
                  and n.cum_cost_micros > e.cum_cost_micros limit 1)""",
        ("events_add_up",),
    ),
    Corruption(
        "unsettled lot lowered",
        "update unsettled_lots set amount_micros = amount_micros - 1 "
        "where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "unsettled lot deleted",
        "delete from unsettled_lots where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "unsettled lot that settles sooner",
        "update unsettled_lots set settles_on = settles_on - 3 where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "sale that settles sooner",
        "update executions set settles_on = settles_on - 3 "
        "where ctid = (select ctid from executions where settles_on is not null limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "instruction to send what has ended",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'submit', now() from orders where status = 'filled' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "instruction to send again what rests",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'submit', now() from orders where status = 'routed' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "cancel that nobody asked for",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'cancel', now() from orders where status = 'routed' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "instruction of nobody",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           values (gen_random_uuid(), gen_random_uuid(), 'submit', now())""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "outbox rows of a user swapped",
        """with own as (select id, row_number() over (order by id) as place from outbox
                         where user_id = (select user_id from outbox group by 1 having count(*) > 2 limit 1)),
                two as (select (select id from own where place = 1) as a, (select id from own where place = 2) as b)
           update outbox o set order_id = s.order_id, order_event_seq = s.order_event_seq, write_seq = s.write_seq,
                  order_stream_seq = s.order_stream_seq, entry_seq = s.entry_seq, occurred_at = s.occurred_at
             from outbox s, two where (o.id, s.id) in ((two.a, two.b), (two.b, two.a))""",
        ("outbox_is_in_order",),
    ),
    Corruption(
        "outbox row told twice",
        """insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                               occurred_at)
           select user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq, occurred_at
             from outbox order by id desc limit 1""",
        ("outbox_has_no_gaps", "outbox_is_in_order"),
    ),
    Corruption(
        "postings of two users swapped",
        """with a as (select * from postings where account = 'cash' order by user_id limit 1),
                b as (select p.* from postings p, a where p.account = 'cash' and p.user_id <> a.user_id
                         and p.amount_micros <> a.amount_micros limit 1)
           update postings p
              set amount_micros = case when p.user_id = a.user_id then b.amount_micros else a.amount_micros end
             from a, b where (p.user_id, p.entry_seq, p.line) in ((a.user_id, a.entry_seq, a.line),
                                                                  (b.user_id, b.entry_seq, b.line))""",
        ("cash_equals_postings", "chain_verifies", "entries_balance"),
    ),
    Corruption(
        "order deleted with its events",
        """with gone as (delete from orders where ctid = (select ctid from orders where status = 'cancelled' limit 1)
                      returning order_id)
           delete from order_events e using gone where e.order_id = gone.order_id""",
        ("orders_have_their_hold", "sequences_have_no_gaps", "keys_name_their_deeds"),
    ),
    Corruption(
        "a report waits although its execution is here",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                      body, received_at, waits_until)
           select user_id, 1, order_id, venue, session, 1, trade_date, exec_id, '{}', now(), now()
             from executions limit 1""",
        ("early_reports_wait",),
    ),
)


async def prove(database: TestDatabase) -> TrialBalance:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        return await run_trial_balance(connection)


async def fill_books(database: TestDatabase, orders: int = 400) -> None:
    """Some hundred orders in every state there is, an overdraft, an order not yet sent."""
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=7)
        await books.open_users(40)
        await books.play(orders)
        await overdraw(books)
        await trade_amounts(books)
        waiting = [books.random_order(user_id) for user_id in books.users[:20]]
        assert "accepted" in await books.place(waiting)


async def trade_amounts(books: CellBooks) -> None:
    """Orders by amount on both sides: filled, filled in part, cancelled with a rest, bust, and untouched."""
    for side in ("buy", "sell"):
        orders = await books.place_amounts(books.users[:15], side, 500 * MICROS)
        await books.route()
        halves = [books.fill(order, order.leaves // 2, order.limit_px) for order in orders[:12]]
        assert set(await books.tell(halves)) == {"applied"}
        rests = [books.fill(order, price=order.limit_px) | {"ord_status": "filled"} for order in orders[:6]]
        assert set(await books.tell(rests)) == {"applied"}
        assert set(await books.tell(books.revise(order, "bust") for order in orders[4:8])) == {"applied"}
        assert set(await books.tell(books.report("cancelled", order) for order in orders[8:10])) == {"applied"}


async def overdraw(books: CellBooks) -> None:
    """Cancelled, the money spent on something else, and then the first order fills after all."""
    poor = books.new_id()
    await books._call("select * from brokerage.open_account_v1(%s, 1, 'retail', 'poor', null, 'x', now())", poor)
    await books.deposit([poor], 100 * MICROS)
    late = PlacedOrder(poor, books.new_id(), "GME", "buy", 25 * MICROS, 4 * MICROS)
    assert await books.place([late]) == ["accepted"]
    await books.route()
    assert await books.cancel([late]) == ["pending_cancel"]
    await books.route()
    assert await books.tell([books.report("cancelled", late)]) == ["applied"]
    assert await books.place([PlacedOrder(poor, books.new_id(), "GME", "buy", 25 * MICROS, 4 * MICROS)]) == ["accepted"]
    await books.route()
    assert await books.tell([books.fill(late, price=25 * MICROS)]) == ["applied"]


async def test_books_written_by_the_procedures_are_healthy(cell_database: TestDatabase) -> None:
    await fill_books(cell_database, 1_500)
    trial = await prove(cell_database)
    assert {check.name: check.sample for check in trial.checks if check.violations} == {}
    assert trial.healthy
    assert [check.name for check in trial.checks] == [file.name.removesuffix(".sql") for file in read_checks()]


async def test_empty_books_are_healthy(cell_database: TestDatabase) -> None:
    assert (await prove(cell_database)).healthy


async def test_each_corruption_is_found_by_name(cell_database: TestDatabase) -> None:
    """Every deed is done and undone in a transaction of its own, so each is seen alone on the same books."""
    await fill_books(cell_database)
    missed = {}
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        await connection.execute("set search_path = brokerage")
        for corruption in CORRUPTIONS:
            found = await found_by(connection, corruption)
            if not set(corruption.found_by) <= found:
                missed[corruption.name] = sorted(set(corruption.found_by) - found)
    assert missed == {}


async def found_by(connection: psycopg.AsyncConnection[tuple[object, ...]], corruption: Corruption) -> set[str]:
    async with connection.transaction(force_rollback=True):
        changed = await connection.execute(corruption.deed)
        assert changed.rowcount > 0, f"{corruption.name}: the deed changed nothing"
        found = set()
        for check in read_checks():
            cursor = await connection.execute(check.text)
            if await cursor.fetchone() is not None:
                found.add(check.name.removesuffix(".sql"))
        return found


async def test_every_check_is_tried_by_a_corruption() -> None:
    tried = {name for corruption in CORRUPTIONS for name in corruption.found_by}
    assert tried == {file.name.removesuffix(".sql") for file in read_checks()}


async def test_many_violations_are_counted_and_few_shown(cell_database: TestDatabase) -> None:
    await fill_books(cell_database)
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        await connection.execute("update brokerage.users set cash_micros = cash_micros + 1")
    trial = await prove(cell_database)
    drift = next(check for check in trial.checks if check.name == "cash_equals_postings")
    assert not trial.healthy
    assert drift.violations == 41
    assert len(drift.sample) == SAMPLE_ROWS_MAX
    assert set(drift.sample[0]) == {"user_id", "cash_micros", "posted_cash", "cash_held_micros", "posted_cash_held"}


async def test_all_checks_see_one_instant_and_write_nothing(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        trial = await run_trial_balance(connection, read_checks()[:1])
        assert len(trial.checks) == 1
        row = await (await connection.execute("show transaction_read_only")).fetchone()
        assert row == ("off",), "the limits of the trial end with its transaction"
