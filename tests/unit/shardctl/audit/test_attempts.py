"""How a request is described before anybody has judged it: within limits, whatever was sent."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shardctl.audit.attempts import ARGUMENTS_CHARS_MAX, of_act, of_submission
from shardctl.audit.limits import REASON_MAX, TARGET_MAX
from shardctl.audit.spans import parse_since
from shardctl.errors import UsageError

NOW = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)


def test_a_submission() -> None:
    body = {
        "kind": "cells.archive", "arguments": {"cell": "cell-1", "older_than_days": 90}, "reason": "full disk",
        "idempotency_key": None, "dry_run": False,
    }  # fmt: skip
    found = of_submission({}, body)
    assert (found.act, found.target, found.reason) == ("cells.archive", "cell-1", "full disk")
    assert found.arguments == {"cell": "cell-1", "older_than_days": 90}
    assert of_submission({}, {**body, "dry_run": True}).arguments["dry_run"] is True
    assert of_submission({}, {"kind": "keys.rotate"}).target == "the stack"
    for users, target in ((["ann"], "ann"), (["ann", "bob"], "2 users"), ([], "the stack"), ("ann", "the stack")):
        assert of_submission({}, {"kind": "users.move", "arguments": {"users": users}}).target == target


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": 1},
        {"kind": "Cells.add"},
        {"kind": "x" * 500},
        {"kind": "cells.add\n"},
        {"kind": "a.b", "arguments": [1]},
    ],
)
def test_nonsense_is_an_attempt_too(body: dict[str, Any]) -> None:
    assert of_submission({}, body).act == "operations.submit"


def test_limits() -> None:
    long = of_submission({}, {"kind": "cells.add", "arguments": {"cell": "c" * 9_000}, "reason": "r" * 9_000})
    assert (len(long.target), len(str(long.reason))) == (TARGET_MAX, REASON_MAX)
    assert len(json.dumps(long.arguments)) < ARGUMENTS_CHARS_MAX
    assert "left_out" in long.arguments
    hidden = of_submission({}, {"kind": "cells.add", "arguments": {"cell": "a\u202eb\x00"}, "reason": "\x00"})
    assert hidden.target == r"'a\u202eb\x00'"
    assert hidden.reason == r"'\x00'"
    assert of_submission({}, {"kind": "cells.add", "reason": 7}).reason is None


def test_a_change_of_an_operation() -> None:
    found = of_act("operations.cancel", "operation {number}")({"number": 12}, {"reason": "a mistake"})
    assert (found.act, found.target, found.reason, found.arguments) == (
        "operations.cancel", "operation 12", "a mistake", {},
    )  # fmt: skip


def test_what_a_path_names_beside_its_target_is_an_argument() -> None:
    describe = of_act("transfers.approve", "{user_id}")
    found = describe({"user_id": UUID(int=7), "transfer": UUID(int=8)}, {"reason": "confirmed", "x": 1})
    assert (found.target, found.reason) == (str(UUID(int=7)), "confirmed")
    assert found.arguments == {"transfer": str(UUID(int=8)), "x": 1}
    hidden = of_act("cells.cordon", "{cell}")({"cell": "{0.__class__}\u202e"}, {})
    assert hidden.target == "'{0.__class__}\\u202e'"


def test_times_as_operators_write_them() -> None:
    assert parse_since("2026-01-31T14:30:00+01:00", lambda: NOW) == datetime(2026, 1, 31, 13, 30, tzinfo=UTC)
    assert parse_since("24h", lambda: NOW) == datetime(2026, 11, 29, 15, 0, tzinfo=UTC)
    assert parse_since("90s", lambda: NOW) == datetime(2026, 11, 30, 14, 58, 30, tzinfo=UTC)
    for text in ("", "yesterday", "2026-01-31T14:30:00", "999999d", "-1h"):
        with pytest.raises(UsageError, match=r"time|zone"):
            parse_since(text, lambda: NOW)
