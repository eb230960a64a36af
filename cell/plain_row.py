"""A database row as the operators' JSON shows it: times and ids as text, everything else as it is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from cell.caller import format_time


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: format_time(value) if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
        for key, value in row.items()
    }
