"""What `up` would do to each process: start, renew, leave or stop it, and why. Pure.

The same for every back end: it says what is planned and what runs, and whether that differs from the plan.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from infra.backends.cell_spec import ProcessKind, ProcessSpec


class Verb(StrEnum):
    START = "start"
    RENEW = "renew"
    LEAVE = "leave"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ProcessChange:
    """Of one process. `why` is for people; no secret stands in it."""

    process: str
    kind: ProcessKind
    cell: str | None
    verb: Verb
    why: str


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs, beside what is planned for it."""

    kind: ProcessKind
    differs: bool
    """By another command or other settings than planned."""
    settings: Mapping[str, str] | None = None
    """What it was started with; None if that is not known."""
    command: Sequence[str] = ()


_SHOWN_MAX: Final = 3
"""Settings that are told of one process; the rest is counted. A line stays a line."""


def preview_changes(
    planned: Iterable[ProcessSpec], running: Mapping[str, Running], absent: Mapping[str, str]
) -> tuple[ProcessChange, ...]:
    """In the order of the plan; those that are not in it come last. `absent`: of a process that does not run, why."""
    wanted = list(planned)
    changes = [_change(process, running.get(process.name), absent.get(process.name, "")) for process in wanted]
    names = {process.name for process in wanted}
    gone = [
        ProcessChange(name, known.kind, None, Verb.STOP, "the stack has it no more")
        for name, known in running.items()
        if name not in names
    ]
    return (*changes, *gone)


def _change(process: ProcessSpec, known: Running | None, absent: str) -> ProcessChange:
    verb, why = Verb.LEAVE, "runs as planned"
    if known is None:
        verb, why = Verb.START, absent or "is new"
    elif known.differs:
        verb, why = Verb.RENEW, _difference(process, known)
    return ProcessChange(process.name, process.kind, process.cell, verb, why)


def _difference(process: ProcessSpec, known: Running) -> str:
    if known.settings is None:
        return "runs with another command or other settings"
    told = []
    for name in sorted({*known.settings, *process.environment}):
        before, after = known.settings.get(name), process.environment.get(name)
        if before != after:
            told.append(f"{name} {_shown(name, before)} -> {_shown(name, after)}")
    if tuple(known.command) != process.command:
        told.append("another command line")
    rest = len(told) - _SHOWN_MAX
    return ", ".join(told[:_SHOWN_MAX]) + (f", and {rest} more" if rest > 0 else "")


def _shown(name: str, value: str | None) -> str:
    return "(not set)" if value is None else masked(name, value) or "(empty)"


_SECRET_NAME: Final = re.compile(r"PASSWORD|SECRET|TOKEN")
_DSN_PASSWORD: Final = re.compile(r"(?i)\b(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)")
MASK: Final = "***"


def masked(name: str, value: str) -> str:
    """The value of a setting for people's eyes: passwords in URLs and DSNs, and whole values by their names, are
    hidden. The name of a file that holds a secret is none."""
    if _SECRET_NAME.search(name) and not name.endswith(("_FILE", "_DIR", "_PATH")):
        return MASK
    try:
        url = urlsplit(value)
        secret = url.password
    except ValueError:
        secret = None
    if secret:
        place = url.netloc.rpartition("@")[2]
        value = urlunsplit(url._replace(netloc=f"{url.username or ''}:{MASK}@{place}"))
    return _DSN_PASSWORD.sub(rf"\1{MASK}", value)
