"""Does a shell ask for completion? Of its own, because every command looks, and imports no more for it."""

from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "_SHARDCTL_COMPLETE"
_SHELLS: Final = ("bash", "zsh", "fish")


def asked_shell(environment: Mapping[str, str]) -> str | None:
    """The shell that asks; None if no completion is wanted, or in another shell, which Typer answers."""
    shell = environment.get(VARIABLE, "").removeprefix("complete_")
    return shell if shell in _SHELLS else None
