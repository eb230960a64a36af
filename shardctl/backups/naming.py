"""When a backup was made, and what it is called."""

import secrets
from datetime import UTC, datetime

from infra.backends.backups import make_label


def machine_now() -> datetime:
    """Backups are named and judged by the machine's clock, as the log is; a stack's may be shifted."""
    return datetime.now(UTC)


def new_label(server: str) -> str:
    return make_label(server, machine_now(), secrets.token_hex(2))
