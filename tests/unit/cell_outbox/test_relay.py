"""The relay's decisions, without a database and a broker: what is sent, what may be deleted, how long to wait."""

from datetime import UTC, datetime
from importlib.resources import files

from hypothesis import given
from hypothesis import strategies as st

from cell.outbox.batch import Prepared, confirmed_rows, prepare
from cell.outbox.claim import BATCH_ROWS_MAX
from cell.outbox.event_types import Entry, OrderStep, OutboxRow
from cell.outbox.metrics import RELAY_METRICS
from cell.outbox.relay import BUSY_PAUSE_S, IDLE_PAUSE_S, next_pause_s
from infra.runtime.envelope import decode_envelope
from infra.runtime.kafka_producer import Refusal
from infra.runtime.telemetry import metrics_markdown

AT = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
ORDER_ID = "0193f0a0-0000-7000-8000-000000000001"


def order_step(stream_seq: int) -> OrderStep:
    return OrderStep(
        order_id=ORDER_ID,
        client_order_id="mine",
        symbol="AAPL",
        side="buy",
        type="limit",
        time_in_force="day",
        order_qty_micros=1_500_000,
        notional_micros=None,
        limit_px_micros=190_010_000,
        stop_px_micros=None,
        seq=3,
        stream_seq=stream_seq,
        from_status="validated",
        to_status="funds_held",
        reason="accepted",
        at=AT,
        exec_id=None,
        last_qty_micros=None,
        last_px_micros=None,
        cum_qty_micros=0,
        cum_cost_micros=0,
    )


def hold_entry(seq: int) -> Entry:
    return Entry(
        seq=seq,
        entry_id=ORDER_ID,
        kind="hold",
        order_id=ORDER_ID,
        occurred_at=AT,
        hash=b"\x01" * 32,
        previous_hash=b"\x00" * 32,
        accounts=["cash", "cash_held"],
        units=["USD", "USD"],
        directions=["debit", "credit"],
        amounts_micros=[285_015_000, 285_015_000],
    )


def row(row_id: int, user: str, *, step: bool = True, entry: bool = True) -> OutboxRow:
    return OutboxRow(
        row_id, user, row_id, 1, order_step(row_id) if step else None, hold_entry(row_id) if entry else None
    )


def test_a_write_with_event_and_entry_becomes_two_messages() -> None:
    prepared = prepare([row(1, "u"), row(2, "u", entry=False)], cell="cell-1", topic_prefix="p.")
    assert [message.topic for message in prepared.messages] == [
        "p.cell-1.order-events",
        "p.cell-1.ledger-events",
        "p.cell-1.order-events",
    ]
    assert prepared.row_of_message == [0, 0, 1]


def test_data_speaks_the_words_of_the_api() -> None:
    order, ledger = (
        decode_envelope(message.value) for message in prepare([row(4, "u")], cell="cell-1", topic_prefix="").messages
    )
    assert order.type == "order.funds_held"
    assert order.seq == 4
    assert order.data == {
        "order_id": ORDER_ID,
        "client_order_id": "mine",
        "symbol": "AAPL",
        "side": "buy",
        "type": "limit",
        "time_in_force": "day",
        "qty": "1.500000",
        "notional": None,
        "limit_price": "190.010000",
        "stop_price": None,
        "order_seq": 3,
        "from": "validated",
        "to": "funds_held",
        "reason": "accepted",
        "at": "2026-11-20T15:00:00Z",
        "exec_id": None,
        "last_qty": None,
        "last_px": None,
        "cum_qty": "0.000000",
        "cum_cost": "0.000000",
    }
    assert ledger.type == "ledger.hold"
    assert ledger.data["postings"] == [
        {"account": "cash", "unit": "USD", "debit": "285.015000"},
        {"account": "cash_held", "unit": "USD", "credit": "285.015000"},
    ]
    assert ledger.data["hash"] == "01" * 32


def confirmed_ids(rows: list[OutboxRow], prepared: Prepared, refusals: list[Refusal]) -> list[int]:
    return [row.id for row in confirmed_rows(rows, prepared, refusals)]


def test_all_confirmed_rows_are_deleted() -> None:
    rows = [row(1, "a"), row(2, "b"), row(3, "a")]
    assert confirmed_ids(rows, prepare(rows, cell="c", topic_prefix=""), []) == [1, 2, 3]


def test_a_refused_event_keeps_its_row_and_all_later_ones_of_the_user() -> None:
    rows = [row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a"), row(5, "b")]
    prepared = prepare(rows, cell="c", topic_prefix="")
    half_of_third = Refusal(prepared.row_of_message.index(2) + 1, "too large")
    assert confirmed_ids(rows, prepared, [half_of_third]) == [1, 2, 5]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20))
def test_what_is_deleted_of_a_user_is_always_the_oldest(plan: list[tuple[str, bool]]) -> None:
    """Otherwise the outbox would have a hole, and a later event would come before an earlier one for good."""
    rows = [row(number, user) for number, (user, _) in enumerate(plan)]
    prepared = prepare(rows, cell="c", topic_prefix="")
    refused = [Refusal(2 * number, "no") for number, (_, refuse) in enumerate(plan) if refuse]
    deleted = set(confirmed_ids(rows, prepared, refused))
    for user in "abc":
        kept_yet = False
        for number, (owner, refuse) in enumerate(plan):
            if owner == user:
                kept_yet = kept_yet or number not in deleted
                assert not (kept_yet and number in deleted)
                assert not (refuse and number in deleted)


def test_the_pause_follows_the_load() -> None:
    assert next_pause_s(IDLE_PAUSE_S, BATCH_ROWS_MAX) == 0
    assert next_pause_s(IDLE_PAUSE_S, 1) == BUSY_PAUSE_S
    pauses = [BUSY_PAUSE_S]
    for _ in range(10):
        pauses.append(next_pause_s(pauses[-1], 0))
    assert pauses == sorted(pauses)
    assert pauses[-1] == IDLE_PAUSE_S


def test_the_readme_lists_the_metrics_as_declared() -> None:
    readme = files("cell").joinpath("outbox", "README.md").read_text("utf-8")
    assert metrics_markdown(RELAY_METRICS) in readme
