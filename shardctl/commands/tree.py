"""Every command of `shardctl` with its parameters, as the commands themselves declare them.

Imports all of them, which takes seconds: for tests, and for the table that completion reads instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import typer
from typer.main import get_command

from infra.backends.cell_spec import MARKET_HOURS, RISK_PROFILES, SHARE_TRANSFERS, Profile
from shardctl.cli import load, make_app, verbs
from shardctl.completion.answer import Entry, Option, Values, write_table
from shardctl.operations.catalog import KINDS


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
    for words, verb in verbs():
        yield Leaf(words, load(verb), verb.hidden)


_KINDS: Final = {"cell": "cells", "number": "operations", "context": "contexts", "stack": "stacks"}
"""By a parameter's name: what names it takes."""
_KINDS_OF: Final = {
    ("logs", "name"): "processes",
    ("config show", "process"): "processes",
    ("routers restart", "name"): "routers",
    ("context use", "name"): "contexts",
    ("context remove", "name"): "contexts",
    ("context show", "name"): "contexts",
    ("users move", "to"): "cells",
}
"""Where the name alone does not tell."""
_WORDS: Final = {
    "kind": tuple(sorted(KINDS)),
    "profile": tuple(Profile),
    "risk_profile": RISK_PROFILES,
    "market_hours": MARKET_HOURS,
    "share_transfers": SHARE_TRANSFERS,
}


def completion_table() -> str:
    """What `shardctl/completion/table.jsonl` must be."""
    above = Leaf((), get_command(make_app()), is_hidden=False)  # its options stand before the noun
    top = Entry((), "", _options(above), ())
    return write_table([top, *(_entry(leaf) for leaf in walk() if not leaf.is_hidden)])


def print_completion_table() -> None:
    """The table that completion reads, made from the commands: > shardctl/completion/table.jsonl."""
    typer.echo(completion_table(), nl=False)


def _entry(leaf: Leaf) -> Entry:
    arguments = [parameter for parameter in leaf.command.params if parameter.param_type_name == "argument"]
    said = " ".join((leaf.command.help or "").split()).partition(". ")[0].removesuffix(".")
    return Entry(leaf.words, said, _options(leaf), tuple(_values(leaf.name, each) for each in arguments))


def _options(leaf: Leaf) -> tuple[Option, ...]:
    return tuple(
        Option(
            (*parameter.opts, *parameter.secondary_opts),
            not parameter.is_flag,
            None if parameter.is_flag else _values(leaf.name, parameter),
        )
        for parameter in leaf.command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    )


def _values(command: str, parameter: Any) -> Values:
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(item.value) for item in annotation)
    if annotation is str and parameter.name in _WORDS:
        return tuple(str(word) for word in _WORDS[parameter.name])
    return _KINDS_OF.get((command, parameter.name)) or _KINDS.get(parameter.name)
