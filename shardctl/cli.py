"""The shape of the command line: verbs of the whole stack at the top, one group of commands per noun below.

Nothing that a command stands on is imported before it is used (`mounts.py`): neither `--help` nor a typing mistake
waits for database drivers, and no command waits for another's.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from shardctl.completion.answer import read_table
from shardctl.errors import Exit, Interrupted
from shardctl.examples import EXAMPLES
from shardctl.mounts import MOUNTS, Noun, Verb

Words = tuple[str, ...]
"""Of a command, as they are typed: `("cells", "add")`."""


def verbs() -> Iterator[tuple[Words, Verb]]:
    """Every command, in the order of the help."""
    for mount in MOUNTS:
        if isinstance(mount, Verb):
            yield (mount.name,), mount
        else:
            yield from (((mount.name, name), Verb(name, function)) for name, function in mount.verbs.items())


def load(verb: Verb) -> Any:
    """Import the command, with everything that it imports."""
    module, _, function = verb.function.partition(":")
    single = typer.Typer()
    single.command(verb.name)(getattr(import_module(f"shardctl.commands.{module}"), function))
    return get_group(single).commands[verb.name]


def with_example(words: Words, command: Any) -> Any:
    """The same command; its help begins with the example."""
    if example := EXAMPLES.get(" ".join(words)):
        command.help = f"For example: shardctl {example}\n\n{command.help}"
    return command


class _LazyCommand(TyperCommand):
    """Placeholder that imports the real command when it is invoked, and hands over to its context."""

    def __init__(self, words: Words, verb: Verb) -> None:
        super().__init__(name=verb.name, help=_lines().get(words, ""), hidden=verb.hidden)
        self._words = words
        self._verb = verb

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = with_example(self._words, load(self._verb))
        return command.make_context(info_name, args, parent=parent, **extra)


@cache
def _lines() -> Mapping[Words, str]:
    """What the list of commands says of each: its first sentence, as completion shows it."""
    return {entry.words: f"{entry.help}." for entry in read_table()}


def _group(noun: Noun) -> TyperGroup:
    group = TyperGroup(name=noun.name, help=noun.help, no_args_is_help=True)
    for name, function in noun.verbs.items():
        group.add_command(_LazyCommand((noun.name, name), Verb(name, function)))
    return group


class _Shardctl(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for mount in MOUNTS:
            self.add_command(_group(mount) if isinstance(mount, Noun) else _LazyCommand((mount.name,), mount))

    def invoke(self, ctx: Any) -> Any:
        """What Typer would end with codes of its own (130, and 1 for a reader who has seen enough, as `head` has) ends
        by our table."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; run the same command again to go on") from error
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.DONE) from error


def _say_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(import_module("shardctl.release").about_line())  # not above: `--help` does without
        raise typer.Exit


def make_app() -> typer.Typer:
    app = typer.Typer(
        name="shardctl",
        help="Run and operate a cell-based brokerage.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        cls=_Shardctl,
    )

    @app.callback()
    def select(
        this: typer.Context,
        _: Annotated[
            bool,
            typer.Option("--version", help="Say which release this is.", is_eager=True, callback=_say_version),
        ] = False,
        context: Annotated[
            str | None,
            typer.Option("--context", help="What to work on, as `shardctl context list` names it."),
        ] = None,
        stack: Annotated[
            str | None,
            typer.Option("--stack", help="A stack of this machine; without both that of this checkout."),
        ] = None,
    ) -> None:
        """Run and operate a cell-based brokerage."""
        # Settings are read from the environment; a flag is the same setting from nearer by (`settings.py`).
        for name, value in (("SHARDCTL_FLAG_CONTEXT", context), ("SHARDCTL_FLAG_STACK", stack)):
            os.environ.pop(name, None)
            if value:
                os.environ[name] = value
            this.call_on_close(partial(os.environ.pop, name, None))

    return app
