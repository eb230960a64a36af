"""Events by identity: what is missing is found whatever was sent twice, and wherever it was."""

import json
import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardctl.events.published import LEDGER, ORDERS, EventCollector, EventComparison, Head

USERS = [uuid.UUID(int=number) for number in (1, 2)]


def chain(user: uuid.UUID, seq: int) -> str:
    return "00" * 32 if seq == 0 else f"{user.int:032x}{seq:032x}"


def record(user: uuid.UUID, stream: str, seq: int, **other: object) -> bytes:
    data = {"hash": chain(user, seq), "previous_hash": chain(user, seq - 1)} if stream == LEDGER else {"side": "buy"}
    return json.dumps({"user_id": str(user), "stream": stream, "seq": seq, "data": data} | other).encode()


def heads(orders: int = 8, ledger: int = 8, *, more: int = 0) -> dict[bytes, Head]:
    return {user.bytes: Head(orders, ledger, chain(user, ledger), orders + more, ledger + more) for user in USERS}


def everything(*, without: set[tuple[int, str, int]] = frozenset(), until: int = 8) -> list[tuple[str, bytes]]:  # type: ignore[assignment]
    return [
        (stream, record(user, stream, seq))
        for seq in range(1, until + 1)
        for number, user in enumerate(USERS)
        for stream in (ORDERS, LEDGER)
        if (number, stream, seq) not in without
    ]


def compared(records: list[tuple[str, bytes]], *, more: int = 0) -> EventComparison:
    collected = EventCollector(heads())
    for stream, body in records:
        collected.add(stream, body)
    return collected.compare(heads(more=more))


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
    found = compared([*everything(without={(0, ORDERS, 8)}), (ORDERS, record(USERS[1], ORDERS, 9))])
    assert (found.missing, found.unknown) == (1, 1)
    stranger = compared([*everything(without={(0, ORDERS, 8)}), (ORDERS, record(uuid.uuid4(), ORDERS, 8))])
    assert (stranger.missing, stranger.unknown) == (1, 1)


def test_one_streams_surplus_does_not_make_up_for_the_others_loss() -> None:
    found = compared([*everything(without={(0, ORDERS, 8)}), (ORDERS, record(USERS[0], LEDGER, 8))])
    assert (found.missing, found.malformed) == (1, 1)


def test_what_is_written_meanwhile_may_be_there_and_need_not() -> None:
    assert compared(everything(until=9), more=1).is_whole
    assert compared(everything(), more=1).is_whole
    assert compared(everything(until=9)).unknown == 4


@pytest.mark.parametrize("seq", [1, 4, 8])
@pytest.mark.parametrize("end", ["hash", "previous_hash"])
def test_a_ledger_event_of_another_chain_is_found(seq: int, end: str) -> None:
    data = {"hash": chain(USERS[0], seq), "previous_hash": chain(USERS[0], seq - 1), end: "ab" * 32}
    records = [
        (stream, record(USERS[0], LEDGER, seq, data=data) if body == record(USERS[0], LEDGER, seq) else body)
        for stream, body in everything()
    ]
    assert compared(records).broken_links >= 1


def test_a_second_copy_with_other_content_is_found() -> None:
    other = {"hash": "ab" * 32, "previous_hash": chain(USERS[0], 7)}
    assert compared([*everything(), (LEDGER, record(USERS[0], LEDGER, 8, data=other))]).broken_links == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"user_id": 1}', record(USERS[0], ORDERS, 0), record(USERS[0], "x", 1)])
def test_what_is_no_event_is_counted(body: bytes) -> None:
    assert compared([*everything(), (ORDERS, body)]).malformed == 1


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
