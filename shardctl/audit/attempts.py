"""What a request to the control service attempts, as it is recorded before anybody has judged it. Pure.

Whatever was sent is recorded within limits, also what will be refused as nonsense. Bodies of these requests hold names
and options, never a secret; one that will must be described by a function that leaves it out.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.security.free_text import FreeTextRefused, check_free_text
from shardctl.audit.limits import REASON_MAX, TARGET_MAX

ARGUMENTS_CHARS_MAX: Final = 4_000
"""Of their JSON: the names of a hundred cells. The longest order that there is has two hundred characters."""
_KIND: Final = re.compile(r"[a-z]+\.[a-z_]{1,60}\Z")
_REASON: Final = "reason"
_STACK: Final = "the stack"


@dataclass(frozen=True, slots=True)
class Described:
    act: str
    target: str
    reason: str | None
    arguments: Mapping[str, Any]


Describe = Callable[[Mapping[str, Any], Mapping[str, Any]], Described]
"""From the parameters of the path and the fields of the body (none, if it is no JSON object)."""


def of_submission(_: Mapping[str, Any], body: Mapping[str, Any]) -> Described:
    """An operation is asked for: the act is its kind."""
    kind, arguments = body.get("kind"), body.get("arguments")
    if not (isinstance(kind, str) and _KIND.match(kind) and isinstance(arguments, dict | None)):
        return described("operations.submit", _STACK, body)
    given = arguments or {}
    others = {name: value for name, value in body.items() if name not in ("kind", "arguments")}
    return described(kind, given.get("cell") or _users(given.get("users")) or _STACK, {**given, **others})


def of_act(act: str, target: str) -> Describe:
    """Something is asked of what the path names; `target` is written with the path's parameters, as `operation
    {number}`. Parameters that it does not name are arguments of the act."""

    def describe(path: Mapping[str, Any], body: Mapping[str, Any]) -> Described:
        others = {name: str(value) for name, value in path.items() if f"{{{name}}}" not in target}
        return described(act, target.format(**path), {**others, **body})

    return describe


def _users(named: object) -> str | None:
    """Of an operation on users: the one, so that who looks for them finds it; or how many."""
    if not isinstance(named, list) or not named:
        return None
    return str(named[0]) if len(named) == 1 else f"{len(named)} users"


def described(act: str, target: object, body: Mapping[str, Any]) -> Described:
    given = {name: value for name, value in body.items() if name != _REASON and value not in (None, False)}
    text = json.dumps(given)
    arguments = given if len(text) <= ARGUMENTS_CHARS_MAX else {"left_out": f"{len(text)} characters"}
    reason = body.get(_REASON)
    return Described(
        act,
        _plain(str(target), TARGET_MAX),
        _plain(reason, REASON_MAX) if isinstance(reason, str) and reason else None,
        arguments,
    )


def _plain(text: str, limit: int) -> str:
    """What cannot be shown as it is, is shown escaped: nothing that was sent hides in the record."""
    try:
        check_free_text(text)
    except FreeTextRefused:
        text = ascii(text)
    return text[:limit]
