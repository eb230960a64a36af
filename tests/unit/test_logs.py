"""A log line: one JSON object, the ids of the request it was written for, a traceback only where one is wanted."""

import asyncio
import json
import logging
import sys
from typing import Any

import pytest

from infra.runtime.logs import bind_request, id_fields, json_lines, request_ids

pytestmark = pytest.mark.anyio
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def line(level: int = logging.INFO, *, warning_tracebacks: bool = False, failed: bool = False, **extra: object) -> Any:
    exc_info = None
    if failed:
        try:
            raise LookupError("nobody there")
        except LookupError:
            exc_info = sys.exc_info()
    record = logging.getLogger("cell.orders").makeRecord(
        "cell.orders", level, __file__, 1, "an %s", ("event",), exc_info, extra=extra
    )
    text = json_lines("cell-1-api", warning_tracebacks=warning_tracebacks).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_who_and_what_with_the_fields_of_the_caller() -> None:
    said = line(count=3, order_id="o-1")
    assert list(said)[:5] == ["at", "level", "process", "logger", "event"]
    assert said.pop("at").endswith("Z")
    assert said == {
        "level": "info",
        "process": "cell-1-api",
        "logger": "cell.orders",
        "event": "an event",
        "count": 3,
        "order_id": "o-1",
    }


def test_an_error_has_its_traceback_and_a_warning_only_if_asked() -> None:
    error = line(logging.ERROR, failed=True)
    assert error["error"] == "LookupError: nobody there"
    assert "Traceback (most recent call last)" in error["traceback"]
    warning = line(logging.WARNING, failed=True)
    assert (warning["error"], "traceback" in warning) == ("LookupError: nobody there", False)
    assert "test_logs.py" in line(logging.WARNING, failed=True, warning_tracebacks=True)["traceback"]


async def test_lines_carry_the_ids_of_their_request_and_of_no_other() -> None:
    async def one(request_id: bytes, trace: bytes) -> Any:
        bind_request(request_id, trace)
        await asyncio.sleep(0)
        return line()

    first, second = await asyncio.gather(
        asyncio.create_task(one(b"first", TRACE)), asyncio.create_task(one(b"second", b"no traceparent"))
    )
    assert (first["request_id"], first["trace_id"]) == ("first", "0af7651916cd43dd8448eb211c80319c")
    assert (second["request_id"], "trace_id" in second) == ("second", False)
    assert "request_id" not in line()


async def test_work_done_by_another_task_shows_the_ids_of_its_request() -> None:
    bind_request(b"mine", TRACE)
    kept = request_ids()
    bind_request(b"", b"no traceparent")
    assert id_fields(request_ids()) == {}
    assert id_fields(kept) == {"request_id": "mine", "trace_id": "0af7651916cd43dd8448eb211c80319c"}
