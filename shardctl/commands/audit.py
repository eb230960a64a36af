"""`shardctl audit list`: who did what, and how it ended."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from shardctl.audit.fetch import moment_of
from shardctl.audit.limits import LISTED_MAX
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line

Since = Annotated[
    str | None, typer.Option(help="From then on: a time with its zone, as 2026-01-31T14:30:00Z, or so long ago: 24h.")
]
_COLUMNS: Final = 80
"""Of the narrowest terminal that is meant."""
_INDENT: Final = " " * 10
_OF_THE_REQUEST: Final = frozenset({"idempotency_key", "expected"})
"""Arguments that say how it was asked and not what; `--json` has them."""


def list_(
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Before then; as --since.")] = None,
    actor: Annotated[str | None, typer.Option(help="Of one person, or of `schedule`.")] = None,
    act: Annotated[str | None, typer.Option(help="One kind of act, as cells.cordon.")] = None,
    target: Annotated[str | None, typer.Option(help="Done to this, as cell-1 or a user's id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LISTED_MAX, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Attempts and how they ended, newest first. Without an outcome (`?`): it still runs, or was killed."""
    control = open_control()
    times = {"since": moment_of(control, since), "until": moment_of(control, until)}
    wanted = {**times, "actor": actor, "act": act, "target": target}
    query = urlencode({name: value for name, value in {**wanted, "limit": limit}.items() if value is not None})
    items = control.get(f"/v1/audit?{query}")["items"]
    if as_json:
        print_json(items)
        return
    if not items:
        print_line("nothing is recorded" + (" of that kind" if any(wanted.values()) else ""))
        return
    for line in [line for item in items for line in _shown(item)]:
        print_line(line)


def _shown(item: Mapping[str, Any]) -> list[str]:
    """One attempt, in lines that a terminal of 80 columns shows whole: ids and words are never broken."""
    at = item["at"][:19].replace("T", " ")
    head = f"{item['number']:>8}  {at}Z  {item['outcome'] or '?':<11}  {item['subject']} ({item['role']})"
    arguments = "".join(
        f" {name}={_plain(value)}" for name, value in item["arguments"].items() if name not in _OF_THE_REQUEST
    )
    told = [f"{item['act']} {item['target']}{arguments}", item["reason"] or "", item["detail"] or ""]
    return [head, *(line for text in told if text for line in _wrapped(text))]


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _wrapped(text: str) -> list[str]:
    return wrap(
        text,
        _COLUMNS,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
