"""Every command of `shardctl` with its parameters, as the commands themselves declare them.

Imports all of them, which takes seconds: for tests, and for the table that completion reads instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from shardctl.cli import MOUNTS, load, make_app


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command that does something."""

    words: tuple[str, ...]
    """As they are typed: `("cells", "add")`."""
    command: Any
    """Typer's command; it has `params`, `help` and `callback`."""
    is_hidden: bool

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> dict[str, Any]:
        """By each of its long and short spellings."""
        return {
            spelling: parameter
            for parameter in self.command.params
            if parameter.param_type_name == "option"
            for spelling in (*parameter.opts, *parameter.secondary_opts)
        }


def walk() -> Iterator[Leaf]:
    """In the order of the help."""
    for mount in MOUNTS:
        yield from _below((mount.name,), load(mount), is_hidden=mount.hidden)


def _below(words: tuple[str, ...], command: Any, *, is_hidden: bool) -> Iterator[Leaf]:
    if not isinstance(command, TyperGroup):
        yield Leaf(words, command, is_hidden)
        return
    for name, below in command.commands.items():
        yield from _below((*words, name), below, is_hidden=is_hidden or below.hidden)


def global_options() -> dict[str, Any]:
    """Those before the noun."""
    return Leaf((), get_command(make_app()), False).options
