"""The shape of the command line: verbs of the whole stack at the top, one group of commands per noun below.

A group is imported when it is used, not when `shardctl` starts. What the groups import (database drivers, HTTP, Kafka,
the local servers) costs a second of processor time, and `--help` and completion need none of it. So the help line of
each group stands here; a test compares it with the help of the group itself.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from shardctl.errors import Exit, Interrupted
from shardctl.examples import EXAMPLES


@dataclass(frozen=True, slots=True)
class Mount:
    """A group (`app` of its module) or a single command (a function of it), and its line in the top level's help."""

    name: str
    module: str
    attribute: str
    help: str
    hidden: bool = False
    """For a back end, not for people."""


MOUNTS: Final = (
    Mount("up", "stack", "up", "Start the stack, or bring a running one to what is asked. Harmless to repeat."),
    Mount(
        "down",
        "stack",
        "down",
        "Stop the stack; its data stays unless --delete-data is given. Also ends what a killed supervisor left behind.",
    ),
    Mount("status", "stack", "status", "Every process: state, port, uptime, memory."),
    Mount("logs", "stack", "logs", "The last lines of a process's log."),
    Mount(
        "doctor",
        "doctor",
        "doctor",
        "Examine machine and stack; each finding names the command that mends it. Exit code 1: something is wrong.",
    ),
    Mount("cells", "cells", "app", "Cells: list, add, cordon, inspect, reconcile, archive."),
    Mount("backup", "backups", "app", "Backups: create, list, verify, restore, rehearse, prune."),
    Mount("routers", "routers", "app", "Routers: the map that each serves, and a rolling restart."),
    Mount("keys", "keys", "app", "Signing keys: list, check who holds them, rotate, show public ones."),
    Mount("map", "shardmap", "app", "The shard map: which cell owns which users."),
    Mount("users", "users", "app", "Users: locate, show, change profile, unrestrict, revoke, move."),
    Mount("transfers", "transfers", "app", "Shares from other brokers that wait for a decision."),
    Mount("operations", "operations", "app", "Operations: list, show, watch, cancel, resume, approve, explain."),
    Mount("schedules", "schedules", "app", "Schedules: what is begun by the clock, and when it is due next."),
    Mount("context", "contexts", "app", "Contexts: list, use, add, remove, show what commands work on."),
    Mount("login", "login", "login", "Log in at the control service of a context: confirm a code in any browser."),
    Mount(
        "logout",
        "login",
        "logout",
        "Forget the token of the service that is meant. The browser's own session at the issuer is not ended.",
    ),
    Mount("whoami", "login", "whoami", "Who you are for the control service, as it would be recorded, and your role."),
    Mount("config", "config", "app", "Settings: show them, and where each comes from."),
    Mount("audit", "audit", "app", "Audit: who did what, when, why, and how it ended; prove it, export it."),
    Mount("exchange", "exchange", "app", "The exchange of this stack: tapes, orders, prices."),
    Mount("events", "events", "app", "Events of a cell in Kafka: show, follow, count."),
    Mount(
        "serve",
        "serving",
        "serve",
        "The control service of a stack, until SIGTERM. Settings come from the environment (CONTROL_...).",
        hidden=True,
    ),
    Mount(
        "completion-table",
        "tree",
        "print_completion_table",
        "The table that completion reads, made from the commands: > shardctl/completion/table.jsonl.",
        hidden=True,
    ),
    Mount(
        "migrate",
        "serving",
        "migrate",
        "Bring the control database's tables and code to this release. Harmless to repeat.",
        hidden=True,
    ),
    Mount(
        "version",
        "version",
        "version",
        "The version of this command, its commit where it is known, and its Python. Also: shardctl --version.",
    ),
    Mount("help", "exit_codes", "app", "Topics: exit-codes."),
)


def load(mount: Mount) -> TyperGroup | Any:
    """Import the command, with everything that it imports."""
    found: typer.Typer | Callable[..., None]
    found = getattr(import_module(f"shardctl.commands.{mount.module}"), mount.attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    single = typer.Typer()
    single.command(mount.name)(found)
    return get_group(single).commands[mount.name]


def begun_with_examples(words: tuple[str, ...], command: Any) -> Any:
    """The same command; its help, and that of those below, begins with the example. The line in a list of commands
    stays."""
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            begun_with_examples((*words, name), below)
    elif example := EXAMPLES.get(" ".join(words)):
        command.short_help = command.short_help or command.help.partition("\n\n")[0]
        command.help = f"For example: shardctl {example}\n\n{command.help}"
    return command


class _LazyCommand(TyperGroup):
    """Placeholder that imports the real command when it is invoked, and hands over to its context."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(name=mount.name, help=mount.help, hidden=mount.hidden)
        self._mount = mount

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = begun_with_examples((self._mount.name,), load(self._mount))
        return command.make_context(info_name, args, parent=parent, **extra)


class _Shardctl(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for mount in MOUNTS:
            self.add_command(_LazyCommand(mount))

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
