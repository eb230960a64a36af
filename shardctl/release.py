"""Which release this is, and what to say to somebody who works with another one.

The control service tells its release in a header of each answer, and commands tell theirs in each request. Versions
have an order; builds (`infra/runtime/build.py`) of one version are the same or not. The wire has a number of its own:
it rises when requests or answers change so that the other side would misread them, and two different ones do not talk.

It stands on little: commands that ask the service stay quick.
"""

import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Final

from infra.backends.checkout import commit
from infra.runtime.build import build_id

WIRE: Final = 1
HEADER: Final = "Control-Release"
DISTRIBUTION: Final = "cell-brokerage"
_FORM: Final = re.compile(r"([0-9A-Za-z.+-]{1,40}); wire=([0-9]{1,6}); build=([0-9a-f]{12})")
_COMMIT_SHOWN: Final = 12
"""Digits of a commit: as many as git shows in a large repository."""


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    wire: int
    build: str

    def header(self) -> str:
        return f"{self.version}; wire={self.wire}; build={self.build}"

    def __str__(self) -> str:
        return f"{self.version}, build {self.build}"


@cache
def own_release() -> Release:
    """As of the first call: a service that runs does not become what is checked out later."""
    return Release(metadata.version(DISTRIBUTION), WIRE, build_id())


def parse_release(header: str | None) -> Release | None:
    """None for what is no such header: from a release that did not know it yet, or from something else."""
    found = _FORM.fullmatch(header or "")
    return Release(found[1], int(found[2]), found[3]) if found else None


def describe_skew(mine: Release, service: Release | None) -> str | None:
    """A sentence for who uses a command of another release than the service's; None for the same one. Pure."""
    if service is None:
        return f"the control service is older than this command ({mine}): it does not say its release; `shardctl up`"
    if service.version != mine.version:
        age = "older" if _order(mine.version) < _order(service.version) else "newer"
        what = "use the command of that release" if age == "older" else "`shardctl up` renews the service"
        return f"this command ({mine}) is {age} than the control service ({service}): {what}"
    if service.build != mine.build:
        return f"the control service ({service}) is another build than this command ({mine}): `shardctl up` renews it"
    return None


def refuse_wire(mine: Release, command: Release) -> str | None:
    """What the service says to a command that speaks another wire; None if it speaks this one. Pure."""
    if command.wire == mine.wire:
        return None
    age = "old" if command.wire < mine.wire else "new"
    return (
        f"this command ({command}) is too {age} for the control service ({mine}): they speak wire {command.wire} and "
        f"{mine.wire}; use the command of the service's release"
    )


def about() -> dict[str, str | int | None]:
    """What `shardctl version` shows."""
    release = own_release()
    return {
        "version": release.version,
        "build": release.build,
        "commit": commit(),
        "python": platform.python_version(),
        "wire": release.wire,
    }


def about_line() -> str:
    at = commit()
    shown = f", commit {at[:_COMMIT_SHOWN]}" if at else ""
    return f"shardctl {own_release()}{shown}, Python {platform.python_version()}"


def _order(version: str) -> tuple[int, ...]:
    """Of a version's numbers; what else stands in it (rc1, dev0) does not count here."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
