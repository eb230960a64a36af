"""What `up --approvals` and `up --oidc` say. `none` takes back what an earlier `up` said."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shardctl.errors import UsageError
from shardctl.oidc_settings import read_oidc
from shardctl.operations.catalog import KINDS

NONE: Final = "none"
OF_THE_RECORD: Final = ("CONTROL_OIDC", "CONTROL_APPROVALS")
"""Beginnings of variables that counted in the shell that started a stack, before its record said this."""


def parse_approvals(text: str | None) -> tuple[str, ...] | None:
    """Kinds with commas between them. Raises UsageError: a kind that there is not would need nobody's approval."""
    if text is None:
        return None
    names = () if text == NONE else tuple(sorted({name.strip() for name in text.split(",")}))
    if unknown := [name for name in names if name not in KINDS]:
        raise UsageError(f"there is no kind {unknown[0]!r}; there are: {', '.join(sorted(KINDS))}; or {NONE}")
    return names


def parse_oidc(text: str | None) -> Mapping[str, str] | None:
    """Raises UsageError for a file that cannot be used."""
    if text is None:
        return None
    return {} if text == NONE else read_oidc(Path(text))


def left_in_the_shell(environment: Mapping[str, str]) -> str | None:
    """A sentence for whoever still sets them there. Pure."""
    found = sorted(name for name in environment if name.startswith(OF_THE_RECORD))
    if not found:
        return None
    return (
        f"{', '.join(found)} of this shell count no more: `shardctl up --oidc FILE`, `shardctl up --approvals KIND,...`"
    )
