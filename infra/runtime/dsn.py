"""What a DSN says of a session: the clock's offset, the release whose code it calls, its name. Pure.

Apart from the driver, because whoever hands out DSNs (`shardctl`) mostly opens none itself.
"""

from collections.abc import Mapping
from typing import Final

from infra.runtime.release_code import session_path

_NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts a session's name there; the release at its end is what `migrate` asks for."""


def with_clock_offset(dsn: str, offset_s: float) -> str:
    """The DSN for a connection of its own, outside of a pool, whose database session has our clock."""
    return with_parameters(dsn, {"options": " ".join(clock_options(offset_s))}) if offset_s else dsn


def with_code(dsn: str, code: str, application_name: str) -> str:
    """The DSN for a connection of its own that works with the code of one release and says so by its name."""
    return with_parameters(
        dsn, {"application_name": session_name(application_name, code), "options": code_option(code)}
    )


def session_name(application_name: str, code: str) -> str:
    """As pg_stat_activity shows it: who, and with which release's code."""
    return f"{application_name[: _NAME_BYTES_MAX - 1 - len(code)]} {code}"


def code_option(code: str) -> str:
    """Names of routines and views are found in the schema of one release."""
    return f"-c search_path={session_path(code)}"


def clock_options(offset_s: float) -> list[str]:
    """What `clock_v1` reads there: an interval."""
    return [f"-c brokerage.clock_offset={offset_s:.6f}s"] if offset_s else []


def with_parameters(dsn: str, parameters: Mapping[str, object]) -> str:
    """The DSN with these parameters. `options` come after those that it has: libpq itself would keep one of two."""
    base, _, query = dsn.partition("?")
    merged = dict(part.split("=", 1) for part in query.split("&") if part)
    for name, value in parameters.items():
        text = str(value).replace(" ", "%20").replace("=", "%3D")
        merged[name] = f"{merged[name]}%20{text}" if name == "options" and merged.get(name) else text
    return f"{base}?{'&'.join(f'{name}={text}' for name, text in merged.items())}"
