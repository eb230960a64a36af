"""`shardctl serve` and `shardctl migrate`: what a back end runs, not what people do.

Of all commands only these stand on the service.
"""

import asyncio
from typing import Annotated

import msgspec
import typer

from infra.runtime.garbage_collection import freeze_startup_objects
from infra.runtime.logs import configure_logging
from infra.runtime.migrator import MigrationPhase, read_pending
from infra.runtime.migrator import migrate as apply_migrations
from infra.runtime.shutdown import Shutdown
from shardctl.output import print_line
from shardctl.service.app import ControlService
from shardctl.service.settings import ControlSettings
from shardctl.stack.current import open_stack


def serve() -> None:
    """The control service of a stack, until SIGTERM. Settings come from the environment (CONTROL_...)."""
    settings = ControlSettings()  # type: ignore[call-arg]  # the environment fills it
    configure_logging(settings.name, settings.log_level, warning_tracebacks=settings.log_warning_tracebacks)
    # Not uvloop: it starts no program as another user, as `initdb` of a new cell must be where we are root.
    asyncio.run(_serve(settings))


async def _serve(settings: ControlSettings) -> None:
    shutdown = Shutdown()
    shutdown.install()
    freeze_startup_objects()
    await ControlService(settings, open_stack()).run(shutdown)


def migrate(
    dsn: Annotated[str, typer.Option(envvar="CONTROL_OWNER_DSN", help="The control database, as its owner.")],
    phase: Annotated[MigrationPhase, typer.Option(help="pre: beside running releases; post: when none is left.")] = (
        MigrationPhase.BOTH
    ),
    pending: Annotated[bool, typer.Option("--pending", help="Print what is missing, in JSON; change nothing.")] = False,
) -> None:
    """Bring the control database's tables and code to this release. Harmless to repeat."""
    if pending:
        print_line(msgspec.json.encode(asyncio.run(read_pending(dsn, package="shardctl"))).decode())
        return
    applied = asyncio.run(apply_migrations(dsn, package="shardctl", phase=phase))
    waiting = f", {len(applied.waiting)} wait until no older release runs" if applied.waiting else ""
    print_line(f"control schema: level {applied.level}, {applied.code}{waiting}")
