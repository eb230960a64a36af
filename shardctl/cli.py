"""The command's shape: verbs of the stack at the top, nouns below. Mounts, and imports nothing else.

A noun or verb is imported when it is used, not when the command starts: most of what they stand on (database drivers,
HTTP, Kafka, the local servers) is of no use to `--help`, to completion and to one another, and took a second of
processor time. What `--help` says of each stands here; a test holds it to the modules' own words.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group


@dataclass(frozen=True, slots=True)
class Mount:
    """A noun (`app` of its module) or a verb (a function of it), and what the top level's help says of it."""

    name: str
    module: str
    attribute: str
    help: str


MOUNTS: Final = (
    Mount("up", "stack", "up", "Start the stack, or bring a running one to what is asked. Harmless to repeat."),
    Mount(
        "down",
        "stack",
        "down",
        "Stop the stack; its data stays, unless told otherwise. Also ends what a killed supervisor left behind.",
    ),
    Mount("status", "stack", "status", "Every process: state, port, uptime, memory."),
    Mount("logs", "stack", "logs", "The last lines of a process's log."),
    Mount(
        "doctor",
        "doctor",
        "doctor",
        "Examine machine and stack; each finding comes with its fix. Exit code 1 if something is wrong.",
    ),
    Mount("cells", "cells", "app", "Cells: list them, add one, ask one how it is."),
    Mount("routers", "routers", "app", "Routers: which map each serves, and a rolling restart."),
    Mount("keys", "keys", "app", "Signing keys: which there are, and how to change them."),
    Mount("map", "shardmap", "app", "The shard map: which cell owns which users."),
    Mount("users", "users", "app", "Users: where they are, what their cell says of them."),
    Mount("transfers", "transfers", "app", "Shares from other brokers that wait for a decision."),
    Mount("exchange", "exchange", "app", "The market of this stack: its tapes, orders and prices."),
    Mount("events", "events", "app", "Events that cells publish to Kafka."),
)


def load(mount: Mount) -> TyperGroup | Any:
    """The command itself, with everything it stands on."""
    found: typer.Typer | Callable[..., None]
    found = getattr(import_module(f"shardctl.commands.{mount.module}"), mount.attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer()
    alone.command(mount.name)(found)
    return get_group(alone).commands[mount.name]


class _Mounted(TyperGroup):
    """Stands for a command until somebody asks it to do something; then the command's own context goes on."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(name=mount.name, help=mount.help)
        self._mount = mount

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load(self._mount).make_context(info_name, args, parent=parent, **extra)


class _Shardctl(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for mount in MOUNTS:
            self.add_command(_Mounted(mount))


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
        stack_name: Annotated[
            str | None,
            typer.Option("--stack", help="Which stack; by default that of this checkout.", envvar="SHARDCTL_STACK"),
        ] = None,
    ) -> None:
        """Run and operate a cell-based brokerage."""
        if stack_name:
            # Settings are read from the environment; the flag is the same setting.
            os.environ["SHARDCTL_STACK"] = stack_name

    return app
