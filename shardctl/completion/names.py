"""Names for completion: stacks, contexts, cells, processes, operations. From small files, and one short question.

Nothing here fails: what cannot be had is not offered. A file that the last `up` or `status` left beside the stack tells
its cells and processes (`remember_names`), because asking takes a second; a cell that somebody else added since is
missing until then. Operations are asked of the control service over its socket, for at most 0.3 s.
"""

import json
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from shardctl.completion.answer import Asked, Offer
from shardctl.context_file import context_path, read_contexts
from shardctl.contexts import Elsewhere
from shardctl.errors import ShardctlError
from shardctl.private_file import replace_private
from shardctl.settings import FLAG_PREFIX, ShardctlSettings, read_settings

_SOCKET_S: Final = 0.3
"""Shorter than a person notices; a service that takes longer is not waited for."""
_ANSWER_BYTES_MAX: Final = 262_144
"""Twenty operations take some ten thousand."""
_OPERATIONS: Final = 20
"""The newest: one screen of words."""
_NAMES_FILE_BYTES_MAX: Final = 1_048_576
"""Fifty cells of sixteen app servers take a hundred thousand."""
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
"""What may be offered to a shell, which evaluates it: no space, no quote, nothing that is expanded."""


@dataclass(frozen=True, slots=True)
class StackNames:
    """Of one stack, as they were when it was looked at."""

    cells: tuple[str, ...]
    processes: tuple[str, ...]
    routers: tuple[str, ...]
    control_socket: str


def names_file(root: Path, stack: str) -> Path:
    return root / f"{stack}.names"


def remember_names(root: Path, stack: str, names: StackNames) -> None:
    """For completion. Best effort: what only completion misses is no reason for a command to fail."""
    text = json.dumps(asdict(names))
    path = names_file(root, stack)
    try:
        if not path.exists() or path.read_text() != text:
            replace_private(path, text)
    except OSError:
        return


def forget_names(root: Path, stack: str) -> None:
    names_file(root, stack).unlink(missing_ok=True)


def find_names(asked: Asked) -> list[Offer]:
    """Of the kind, for the stack or context that the line names. Never raises for what is not there or is broken."""
    environment = dict(os.environ)
    for name, value in (("CONTEXT", asked.context), ("STACK", asked.stack)):
        environment.pop(f"{FLAG_PREFIX}{name}", None)
        if value:
            environment[f"{FLAG_PREFIX}{name}"] = value
    finder = _FINDERS.get(asked.kind)
    if finder is None:
        return []
    try:
        return [(word, said) for word, said in finder(environment) if _WORD.fullmatch(word)]
    except (ShardctlError, OSError, ValueError, KeyError, TypeError):
        return []


def _contexts(environment: Mapping[str, str]) -> list[Offer]:
    found = read_contexts(context_path(environment))
    return [
        (name, context.target.url if isinstance(context.target, Elsewhere) else f"the stack {context.target.stack}")
        for name, context in found.by_name.items()
    ]


def _stacks(environment: Mapping[str, str]) -> list[Offer]:
    root = read_settings(environment).state_root
    return [(path.name.removesuffix(".backend"), "") for path in sorted(root.glob("*.backend"))]


def _listed(field: str) -> Callable[[Mapping[str, str]], list[Offer]]:
    def find(environment: Mapping[str, str]) -> list[Offer]:
        return [(str(name), "") for name in _remembered(read_settings(environment))[field]]

    return find


def _operations(environment: Mapping[str, str]) -> list[Offer]:
    path = _remembered(read_settings(environment))["control_socket"]
    items = _ask(path, f"/v1/operations?limit={_OPERATIONS}")["items"]
    return [(str(item["operation_id"]), f"{item['kind']} {item['target']}, {item['state']}") for item in items]


_FINDERS: Final[Mapping[str, Callable[[Mapping[str, str]], Sequence[Offer]]]] = {
    "contexts": _contexts,
    "stacks": _stacks,
    "cells": _listed("cells"),
    "processes": _listed("processes"),
    "routers": _listed("routers"),
    "operations": _operations,
}
KINDS: Final = frozenset(_FINDERS)


def _remembered(settings: ShardctlSettings) -> dict[str, Any]:
    with names_file(settings.state_root, settings.stack_name).open("rb") as file:
        found: dict[str, Any] = json.loads(file.read(_NAMES_FILE_BYTES_MAX))
    return found


def _ask(path: str, target: str) -> Any:
    """One GET over a Unix socket, all of it within the limit. Not `http.client`: it takes longer to import than the
    answer takes."""
    until_s = time.monotonic() + _SOCKET_S
    raw = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SOCKET_S)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while len(raw) < _ANSWER_BYTES_MAX and (left_s := until_s - time.monotonic()) > 0:
            connection.settimeout(left_s)
            part = connection.recv(65_536)
            if not part:
                break
            raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError("no answer")
    return json.loads(body)
