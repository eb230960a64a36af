"""Logs as JSON lines on standard output; the supervisor owns log files and their rotation.

Modules log with the standard library (`logging.getLogger(__name__)`, fields by `extra=`); structlog writes the line. A
line written while a request is worked on carries its `request_id` and `trace_id` by itself, the same ones at the router
and in the cell; a task that works for many requests keeps theirs beside its work (`request_ids`, `id_fields`). An error
keeps its traceback; a warning names its exception in one line, because it is expected (the database went away) and
comes a hundred times.

Never logs a secret: callers pass fields by name, and nothing dumps settings or headers.
"""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor

TRACE_HEADER: Final = b"traceparent"
_TRACE_ID: Final = slice(3, 35)
"""Of a W3C traceparent: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`."""
_TRACEPARENT_BYTES: Final = 55
"""Of the only version that there is, `00`."""

RequestIds = tuple[bytes, bytes]
"""Request id and traceparent as they came, empty if none did."""
NO_REQUEST: Final[RequestIds] = (b"", b"")

_request: ContextVar[RequestIds] = ContextVar("request_ids", default=NO_REQUEST)
_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode


def bind_request(request_id: bytes, traceparent: bytes) -> None:
    """Lines of this task, and of tasks it starts, carry these ids. They are kept as they came and decoded by the line
    that needs them: most requests write none."""
    _request.set((request_id, traceparent))


def request_ids() -> RequestIds:
    """Those of this task: kept beside work that another task does for the request, and shown by `id_fields`."""
    return _request.get()


def id_texts(ids: RequestIds) -> tuple[str | None, str | None]:
    """Request id and trace id; None for what is empty or no traceparent."""
    request_id, traceparent = ids
    trace_id = traceparent[_TRACE_ID]
    is_trace = len(traceparent) == _TRACEPARENT_BYTES and trace_id.isalnum()
    return request_id.decode("latin-1") if request_id else None, trace_id.decode("latin-1") if is_trace else None


def id_fields(ids: RequestIds) -> dict[str, str]:
    """The ids as fields of a line, those that there are."""
    named = zip(("request_id", "trace_id"), id_texts(ids), strict=True)
    return {name: text for name, text in named if text is not None}


def configure_logging(process_name: str, level: str = "INFO", *, warning_tracebacks: bool = False) -> None:
    """Send every logger to standard output as JSON lines. `warning_tracebacks`: warnings carry theirs too."""
    out = logging.StreamHandler(sys.stdout)
    out.setFormatter(json_lines(process_name, warning_tracebacks=warning_tracebacks))
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(level)


def json_lines(process_name: str, *, warning_tracebacks: bool = False) -> logging.Formatter:
    """One record, one line: `at level process logger event`, the ids, the fields of `extra=`, what went wrong."""

    def begin(_logger: Any, _method: str, fields: EventDict) -> EventDict:
        record: logging.LogRecord = fields["_record"]
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": process_name,
            "logger": record.name,
            **fields,
        }

    def end(_logger: Any, _method: str, fields: EventDict) -> EventDict:
        exc_info = fields.pop("exc_info", None)
        if exc_info and exc_info[1] is not None:
            error: BaseException = exc_info[1]
            fields["error"] = "".join(traceback.format_exception_only(error)).strip()
            if warning_tracebacks or fields["_record"].levelno >= logging.ERROR:
                fields["traceback"] = "".join(traceback.format_exception(error))
        return fields

    processors: list[Processor] = [
        begin,
        _add_ids,
        ExtraAdder(),
        end,
        ProcessorFormatter.remove_processors_meta,
        _render,
    ]
    return ProcessorFormatter(processors=processors)


def _add_ids(_logger: Any, _method: str, fields: EventDict) -> EventDict:
    fields.update(id_fields(_request.get()))
    return fields


def _render(_logger: Any, _method: str, fields: EventDict) -> str:
    return _encode(fields)
