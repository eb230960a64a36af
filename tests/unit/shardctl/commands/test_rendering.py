"""What commands make of an answer: verdicts and exit codes, the next command, lines for people and for programs."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.runtime.kafka_consumer import Record
from infra.security.rotation import Rotated
from shardctl.audit.walk import Walked
from shardctl.commands.audit import _shown
from shardctl.commands.events import _json_line
from shardctl.commands.inspecting import _flat
from shardctl.commands.keys import _refuse_others
from shardctl.commands.reconciliation import _amount, _event_counts
from shardctl.commands.shardmap import _change
from shardctl.commands.users import _flat as _flat_account
from shardctl.commands.users import _listed
from shardctl.commands.verifying import _verdict
from shardctl.errors import Refused
from shardctl.keys import KeyHolder

NOW = datetime(2026, 11, 30, 9, 31, tzinfo=UTC)


def test_kinds_of_event_differences_are_told_apart() -> None:
    found = {"missing": 1, "unknown": 2, "broken_links": 3, "malformed": 4}
    assert _event_counts(found) == "1 missing, 2 never written, 3 out of the chain, 4 no events"
    assert _event_counts({"missing": 0, "unknown": 0}) == "0 missing"


@pytest.mark.parametrize(
    ("micros", "shown"), [(0, "0.000000"), (1, "0.000001"), (1_234_567_890_123, "1,234,567.890123")]
)
def test_amounts_are_exact(micros: int, shown: str) -> None:
    assert _amount(micros) == shown


def test_a_process_with_other_keys_is_named_with_the_way_out() -> None:
    current = KeyHolder("router-1", is_current=True, detail="current")
    _refuse_others([current])
    with pytest.raises(Refused) as error:
        _refuse_others([current, KeyHolder("cell-1-api-1", is_current=False, detail="still takes old")])
    assert "cell-1-api-1: still takes old" in str(error.value)
    assert "router-1" not in str(error.value)
    assert "`shardctl keys check`" in str(error.value)


def test_an_event_is_printed_as_it_was_published_and_anything_else_is_wrapped() -> None:
    def line(value: bytes) -> str:
        return _json_line(Record(topic="t", partition=0, offset=1, key=None, value=value, headers=[]))

    published = b'{"user_id": "1",  "seq": 2}'
    assert line(published) == published.decode()
    for malformed in (b"", b"{", b"\xff\x00"):
        assert list(json.loads(line(malformed))) == ["malformed"]


ATTEMPT: dict[str, Any] = {
    "number": 1_234_567, "at": "2026-11-30T09:31:00.123456Z", "subject": "ann", "act": "users.set_profile",
    "target": "00000000-0000-4000-8000-000000000001", "arguments": {"profile": "professional"},
    "reason": "checked by the desk, ticket 12345", "outcome": None, "role": "operator", "detail": None,
}  # fmt: skip


def test_attempts_are_read_whole_at_80_columns() -> None:
    assert _shown(ATTEMPT) == [
        " 1234567  2026-11-30 09:31:00Z  ?            ann (operator)",
        "          users.set_profile 00000000-0000-4000-8000-000000000001",
        "          profile=professional",
        "          checked by the desk, ticket 12345",
    ]
    rotated = {**ATTEMPT, "arguments": {"rings": ["route", "customer"], "idempotency_key": "k", "expected": "h"}}
    assert _shown(rotated)[2].split() == ["rings=route,customer"]
    failed = {**ATTEMPT, "arguments": {}, "reason": None, "outcome": "interrupted", "detail": "word " * 30}
    shown = _shown(failed)
    assert shown[0].split() == ["1234567", "2026-11-30", "09:31:00Z", "interrupted", "ann", "(operator)"]
    assert max(len(line) for line in shown) <= 80
    assert " ".join(" ".join(shown[2:]).split()) == ("word " * 30).strip()


def test_a_verdict_says_how_far_it_reaches() -> None:
    whole = Walked(10, 1, 10, "ab", 2, 8, (), 0)
    assert "up to row 8 one agrees, the 2 rows after it" in _verdict(whole, gone=0, wants_heads=True)[1]
    assert "no head was published yet" in _verdict(replace(whole, heads_compared=0), gone=0, wants_heads=True)[1]
    assert "not compared" in _verdict(whole, gone=0, wants_heads=False)[1]
    assert "has deleted 3 older heads" in _verdict(whole, gone=3, wants_heads=True)[2]
    assert _verdict(replace(whole, findings_total=1), gone=0, wants_heads=True)[-1] != "whole"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"kind": "cell_added", "cell": "cell-1", "lot": 4}, "cell added cell-1"),
        ({"kind": "pins_set", "count": 3}, "pins set 3"),
        ({"kind": "lineage_created"}, "lineage created"),
        ({}, ""),
    ],
)
def test_a_change_of_the_map_in_one_cell_of_a_table(change: dict[str, Any], shown: str) -> None:
    assert _change(change) == shown


def test_nested_answers_become_flat_rows() -> None:
    assert _flat({"filled": 2, "accepted": 1}) == "accepted 1, filled 2"
    assert (_flat({}), _flat(7)) == ("none", "7")
    assert _flat_account({"a": {"b": {"c": 1}}, "d": None}) == {"a.b.c": 1, "d": None}
    assert _listed({"from": "retail", "to": "professional"}) == "from retail, to professional"


def test_every_ring_has_a_name_that_can_be_typed() -> None:
    assert {ring.value for ring in Rotated} == {"customer", "route", "operator", "cell"}
