"""The stack's memory: `stack.json` holds what was asked for, the ports it got and the token its processes carry.

Replaced atomically, so that a crash leaves the old record or the new one. Holds no secret: those are in `secrets/`.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from infra.backends.backend import BackendError
from infra.backends.cell_spec import StackSpec
from infra.backends.replaced_file import replace_file

FORMAT = 1
"""Of the file; it grows when an older release could not read it."""


@dataclass(frozen=True, slots=True)
class StackRecord:
    stack: str
    spec: StackSpec
    ports: Mapping[str, int]
    token: str
    """Random per stack; every process of the stack carries it in its environment, by which an orphan is recognised."""
    kafka_cluster_id: str
    format: int = FORMAT
    leader_number: int = 0
    """The highest lease of the control service that has changed this stack; a lower one is refused (`fence.py`)."""
    archived: Mapping[str, str] = field(default_factory=dict)
    """Database servers whose log is archived, and the name of the archive that it goes to now."""

    def port(self, name: str) -> int:
        return self.ports[name]

    def with_ports(self, ports: Mapping[str, int]) -> "StackRecord":
        return replace(self, ports=dict(ports))

    def with_archive(self, server: str, archive: str | None) -> "StackRecord":
        """None: its log is archived no more."""
        others = {name: kept for name, kept in self.archived.items() if name != server}
        return replace(self, archived=others if archive is None else {**others, server: archive})

    def with_spec(self, spec: StackSpec) -> "StackRecord":
        return replace(self, spec=spec)


def new_record(stack: str, spec: StackSpec) -> StackRecord:
    return StackRecord(stack, spec, {}, secrets.token_hex(16), kafka_cluster_id=_kafka_uuid())


def _kafka_uuid() -> str:
    # Kafka's tools would take a leading dash for an option.
    while (text := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return text


def load_record(path: Path) -> StackRecord | None:
    """The record, or None if there is no stack here. Raises BackendError."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise BackendError(f"{path} belongs to somebody else: use another --stack or SHARDCTL_STATE_DIR") from error
    try:
        record = msgspec.json.decode(raw, type=StackRecord)
    except msgspec.MsgspecError as error:
        raise BackendError(f"{path} is damaged ({error}): move it away, or remove the folder {path.parent}") from error
    if record.format != FORMAT:
        raise BackendError(f"{path} was written by another version (format {record.format}, this is {FORMAT})")
    return record


def save_record(path: Path, record: StackRecord) -> None:
    replace_file(path, msgspec.json.format(msgspec.json.encode(record), indent=1), mode=0o644)


def load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
