"""The chain as the control service gives it: rows page by page, one page in memory; the time by its clock."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from shardctl.audit.limits import PAGE_ROWS
from shardctl.audit.row import AuditRow, row_of
from shardctl.audit.spans import parse_since
from shardctl.control_patience import PatientControl

HEAD_PATH: Final = "/v1/audit/head"
_ROWS_PATH: Final = "/v1/audit/rows"


def fetch_rows(control: PatientControl, since: str | None = None) -> Iterator[AuditRow]:
    """All, page by page, one page in memory. Raises RowMalformed for what no release of ours answers."""
    after, query = 0, {"since": since} if since else {}
    while True:
        page = control.get(f"{_ROWS_PATH}?{urlencode({'after': after, 'limit': PAGE_ROWS, **query})}")["items"]
        for item in page:
            row = row_of(item)
            after = max(after, row.number)
            yield row
        if len(page) < PAGE_ROWS:
            return


def moment_of(control: PatientControl, text: str | None) -> str | None:
    """What `parse_since` reads, as the service takes it; `24h` is counted from the service's own time. None for None.
    Raises UsageError, and what the service refuses with."""
    if text is None:
        return None
    return parse_since(text, lambda: datetime.fromisoformat(control.get(HEAD_PATH)["at"])).isoformat()
