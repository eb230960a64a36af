"""Events by identity: what is missing is found whatever was sent twice, and wherever it was."""

import json
import random
import uuid
from collections.abc import Collection
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.envelope import event_id
from shardctl.events.event import LEDGER, ORDERS, PublishedEvent
from shardctl.events.published import EventCollector, EventComparison, Head, Known
from shardctl.events.reading import head_of

USERS = [uuid.UUID(int=number) for number in (1, 2)]
GENESIS = "00" * 32
Record = tuple[str, bytes | None, bytes]


def event(user: uuid.UUID, stream: str, seq: int, **data: Any) -> dict[str, Any]:
    """An event as the relay writes it; `data` changes what it says."""
    postings = [
        {"account": "bank", "unit": "USD", "debit": f"{seq}.500000"},
        {"account": "cash", "unit": "USD", "credit": f"{seq}.500000"},
    ]
    order = {"order_id": str(user), "order_seq": seq, "from": "routed", "to": "filled", "cum_qty": f"{seq}.000000"}
    entry = {"entry_id": str(user), "kind": "deposit", "order_id": None, "postings": postings}
    return {
        "event_id": event_id(str(user), stream, seq),
        "type": "order.filled" if stream == ORDERS else "ledger.deposit",
        "cell": "cell-1",
        "user_id": str(user),
        "stream": stream,
        "seq": seq,
        "write_seq": 10 * seq,
        "occurred_at": f"2026-11-20T14:30:00.{seq:06d}Z",
        "data": (order if stream == ORDERS else {**entry, "hash": GENESIS, "previous_hash": GENESIS}) | data,
    }


def packed(document: dict[str, Any]) -> Record:
    return document["stream"], document["user_id"].encode(), json.dumps(document).encode()


def hashed(document: dict[str, Any], previous_hash: str) -> dict[str, Any]:
    """With the hash that its contents have."""
    document["data"]["previous_hash"] = previous_hash
    document["data"]["hash"] = msgspec.json.decode(json.dumps(document), type=PublishedEvent).entry_hash()
    return document


@cache
def chain(user: uuid.UUID, seq: int) -> str:
    return GENESIS if seq == 0 else str(hashed(event(user, LEDGER, seq), chain(user, seq - 1))["data"]["hash"])


def record(user: uuid.UUID, stream: str, seq: int, **data: Any) -> Record:
    document = event(user, stream, seq, **data)
    return packed(hashed(document, chain(user, seq - 1)) if stream == LEDGER else document)


def heads(orders: int = 8, ledger: int = 8, *, more: int = 0) -> dict[bytes, Head]:
    return {user.bytes: Head(orders, ledger, chain(user, ledger), orders + more, ledger + more) for user in USERS}


@cache
def true(user: uuid.UUID, stream: str, seq: int) -> Record:
    return record(user, stream, seq)


def everything(*, without: Collection[tuple[int, str, int]] = frozenset(), until: int = 8) -> list[Record]:
    return [
        true(user, stream, seq)
        for seq in range(1, until + 1)
        for number, user in enumerate(USERS)
        for stream in (ORDERS, LEDGER)
        if (number, stream, seq) not in without
    ]


def compared(records: list[Record], *, more: int = 0) -> EventComparison:
    return read(records, heads(), heads(more=more))


def read(records: list[Record], before: dict[bytes, Head], after: dict[bytes, Head]) -> EventComparison:
    collected = EventCollector("cell-1", before)
    for each in records:
        collected.add(*each)
    if collected.has_copies:
        for each in records:
            collected.add_again(*each)
    return collected.compare(after)


def test_all_of_it_once_or_twice_is_whole() -> None:
    once = compared(everything())
    assert once.is_whole
    assert (once.order_events, once.ledger_events, once.duplicates) == (16, 16, 0)
    twice = compared(everything() + everything())
    assert twice.is_whole
    assert twice.duplicates == 32


def test_copies_stand_for_nothing() -> None:
    """Five events deleted before anybody published them, ten others sent twice: more records than events."""
    gone = {(0, ORDERS, 3), (0, ORDERS, 4), (1, ORDERS, 8), (0, LEDGER, 5), (1, LEDGER, 8)}
    records = everything(without=gone)
    found = compared(records + records[:10])
    assert found.records > 32
    assert found.missing == 5
    assert {(row["stream"], row["first"], row["last"]) for row in found.sample} == {
        (ORDERS, 3, 4), (ORDERS, 8, 8), (LEDGER, 5, 5), (LEDGER, 8, 8),
    }  # fmt: skip


def test_one_users_surplus_does_not_make_up_for_anothers_loss() -> None:
    found = compared([*everything(without={(0, ORDERS, 8)}), record(USERS[1], ORDERS, 9)])
    assert (found.missing, found.unknown) == (1, 1)
    stranger = compared([*everything(without={(0, ORDERS, 8)}), record(uuid.uuid4(), ORDERS, 8)])
    assert (stranger.missing, stranger.unknown) == (1, 1)


def test_one_streams_surplus_does_not_make_up_for_the_others_loss() -> None:
    found = compared([*everything(without={(0, ORDERS, 8)}), (ORDERS, *record(USERS[0], LEDGER, 8)[1:])])
    assert (found.missing, found.malformed) == (1, 1)


def test_what_is_written_meanwhile_may_be_there_and_need_not() -> None:
    assert compared(everything(until=9), more=1).is_whole
    assert compared(everything(), more=1).is_whole
    assert compared(everything(until=9)).unknown == 4


@pytest.mark.parametrize("seq", [1, 4, 8])
@pytest.mark.parametrize("change", ["hash", "previous_hash", "amount", "chain"])
def test_a_ledger_event_of_another_chain_is_found(seq: int, change: str) -> None:
    forged = hashed(event(USERS[0], LEDGER, seq), chain(USERS[0], seq - 1))
    if change == "amount":
        for posting in forged["data"]["postings"]:
            posting.update({side: "900.000000" for side in ("debit", "credit") if side in posting})
    elif change == "chain":  # it proves itself, and another entry as well
        hashed(forged, "ab" * 32)
    else:
        forged["data"][change] = "ab" * 32
    true_one = true(USERS[0], LEDGER, seq)
    records = [packed(forged) if each == true_one else each for each in everything()]
    for order in (records, records[::-1]):
        found = compared(order)
        assert found.broken_links >= 1
        assert (found.missing, found.unknown) == (0, 0)


def test_lost_events_that_were_made_up_anew_are_found_in_whatever_order_they_come() -> None:
    lost = [(0, LEDGER, seq) for seq in (4, 5, 6)]
    forged, before = [], chain(USERS[0], 3)
    for _, _, seq in lost:
        document = event(USERS[0], LEDGER, seq, kind="withdrawal")
        document["type"] = "ledger.withdrawal"
        before = hashed(document, before)["data"]["hash"]
        forged.append(packed(document))
    for order in (forged, forged[::-1]):
        assert compared(everything(without=lost) + order).broken_links >= 1


@pytest.mark.parametrize("stream", [ORDERS, LEDGER])
@pytest.mark.parametrize("seq", [1, 2, 8])
def test_a_second_copy_with_other_content_is_found(stream: str, seq: int) -> None:
    """Also one that proves itself, far from the end of its chain."""
    change: dict[str, Any] = {"cum_qty": "9.000000"} if stream == ORDERS else {"postings": []}
    other = record(USERS[0], stream, seq, **change)
    for records in ([*everything(), other], [other, *everything()]):
        found = compared(records)
        assert found.malformed >= 1
        assert "copies differ" in {row["problem"] for row in found.sample}


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": str(USERS[1])},
        {"seq": 9},
        {"cell": "cell-2"},
        {"type": "order.rejected"},
        {"event_id": str(uuid.UUID(int=5))},
        {"stream": LEDGER},
        {"seq": 0},
        {"seq": 2**63},
        {"occurred_at": "2026-11-20T14:30:00"},
    ],
)
def test_an_event_in_anothers_place_is_no_event(change: dict[str, object]) -> None:
    moved = event(USERS[0], ORDERS, 8) | change
    body = json.dumps(moved).encode()
    for key in (str(moved["user_id"]).encode(), b"zzz", None):
        found = compared([*everything(without={(0, ORDERS, 8)}), (ORDERS, key, body)])
        assert (found.missing, found.malformed) == (1, 1)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"user_id": 1}'])
def test_what_is_no_event_is_counted(body: bytes) -> None:
    assert compared([*everything(), (ORDERS, b"", body)]).malformed == 1


@given(
    absent=st.sets(st.tuples(st.integers(0, 1), st.sampled_from([ORDERS, LEDGER]), st.integers(1, 8))),
    copies=st.integers(0, 40),
    seed=st.integers(0, 1_000),
)
def test_whatever_is_absent_is_counted_exactly(absent: set[tuple[int, str, int]], copies: int, seed: int) -> None:
    """In any order of arrival, though a topic has its own."""
    records = everything(without=absent)
    rng = random.Random(seed)
    shuffled = rng.sample(records, len(records)) + [rng.choice(records) for _ in range(copies if records else 0)]
    found = compared(shuffled)
    assert found.missing == len(absent)
    assert found.unknown == 0
    assert found.order_events + found.ledger_events == 32 - len(absent)
    assert found.duplicates == (copies if records else 0)


def after_a_restore(*, released: bool) -> EventComparison:
    """The first user's books end at 5, and the topics hold 6 to 8 of before; released, the ninth follows the fifth."""
    user, other = USERS
    lost = ((6, 8),)
    ninth = hashed(event(user, LEDGER, 9), chain(user, 5))
    records = everything() + ([record(user, ORDERS, 9), packed(ninth)] if released else [])
    head = Head(5, 5, chain(user, 5), 5, 5)
    if released:
        head = Head(9, 9, ninth["data"]["hash"], 9, 9, lost, lost)
    known = {user.bytes: head, other.bytes: heads()[other.bytes]}
    collector = EventCollector("cell-1", known)
    for each in records:
        collector.add(*each)
    return collector.compare(known)


def test_who_is_ahead_is_known_by_the_last_numbers() -> None:
    found = after_a_restore(released=False)
    user = str(USERS[0])
    assert (found.unknown, found.ahead) == (6, (user,))
    assert found.known == {user: Known(8, 8, 80)}


def test_what_a_restore_has_lost_is_left_out_and_its_neighbours_are_a_chain() -> None:
    found = after_a_restore(released=True)
    assert found.is_whole, found.sample
    assert (found.ahead, found.known) == ((), {})
    assert found.ledger_events == 8 + 6


def test_a_lost_number_that_is_given_again_is_no_event_of_the_books() -> None:
    """The books skip it; so what stands there in Kafka is of before, whatever it says."""
    user = USERS[0]
    head = Head(9, 0, "", 9, 0, ((6, 8),), ())
    collector = EventCollector("cell-1", {user.bytes: head})
    for seq in (1, 2, 3, 4, 5, 7):
        collector.add(*record(user, ORDERS, seq))
    found = collector.compare({user.bytes: head})
    assert found.missing == 1
    assert found.sample[0] | {"user_id": ""} == {
        "user_id": "", "stream": ORDERS, "problem": "missing", "first": 9, "last": 9,
    }  # fmt: skip


@pytest.mark.parametrize("elsewhere", [(1, 3), (4, 5)])
def test_what_another_cell_has_published_is_not_sought_here_nor_linked(elsewhere: tuple[int, int]) -> None:
    """Before the user came here, and while they were away for a time."""
    first, last = elsewhere
    gone = {(number, stream, seq) for number in (0, 1) for stream in (ORDERS, LEDGER) for seq in range(first, last + 1)}
    here = everything(without=gone)
    told = heads_with([[stream, first, last, "elsewhere"] for stream in (ORDERS, LEDGER)])
    found = read(here, told, told)
    assert found.is_whole, found.sample
    assert found.order_events == found.ledger_events == 2 * (8 - (last - first + 1))
    assert sum(head.orders_here for head in told.values()) == found.order_events
    assert sum(head.ledger_here for head in told.values()) == found.ledger_events
    # Of a restore, whose chain goes on where it was: there the link is compared.
    lost = heads_with([[stream, first, last] for stream in (ORDERS, LEDGER)])
    assert read(here, lost, lost).broken_links == (2 if first > 1 else 0)
    behind = [each for each in here if each != true(USERS[0], LEDGER, 7)]
    forged = record(USERS[0], LEDGER, 7, order_id=str(USERS[1]))
    assert read([*behind, forged], told, told).broken_links > 0


def heads_with(lost: list[list[Any]]) -> dict[bytes, Head]:
    """As a cell tells them."""
    numbers = dict.fromkeys(("order_event_seq", "entry_seq", "orders_published", "ledger_published"), 8)
    return {user.bytes: head_of({**numbers, "published_chain_head": chain(user, 8), "lost": lost}) for user in USERS}
