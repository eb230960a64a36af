"""`python -m cell serve | work | relay | migrate`: the processes of one cell. Settings come from `CELL_...`."""

import asyncio
import logging

import typer
import uvloop

from cell.app import create_app
from cell.executions.trading_hours import write_calendar
from cell.executions.worker import run_worker
from cell.outbox.relay import run_relay
from cell.settings import CellSettings
from infra.runtime.clock import make_clock
from infra.runtime.database import run_statements
from infra.runtime.garbage_collection import freeze_startup_objects
from infra.runtime.logs import configure_logging
from infra.runtime.migrator import migrate as migrate_database
from infra.runtime.operator_api import serving
from infra.runtime.shutdown import Shutdown

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
_log = logging.getLogger("cell")


def rehearsal_statements(offset_s: float) -> tuple[str, ...]:
    """A cell whose clock is put forward may let rows age by it; any other judges ages by the database's own clock."""
    forget = "delete from brokerage.rehearsal"
    allow = f"insert into brokerage.rehearsal (ahead_max) values (make_interval(secs => {offset_s:.6f}))"
    return (forget, allow) if offset_s > 0 else (forget,)


def _settings(role: str) -> CellSettings:
    settings = CellSettings()  # type: ignore[call-arg]  # the environment fills it
    configure_logging(f"{settings.name}-{role}", warning_tracebacks=settings.log_warning_tracebacks)
    return settings


async def _serve(settings: CellSettings) -> None:
    shutdown = Shutdown()
    shutdown.install()
    app = create_app(settings)
    fast: dict[str, object] = {
        "loop": "none",
        "proxy_headers": False,  # only the router comes here, and it says who asks in its token
        "timeout_keep_alive": 75,  # longer than the router keeps an idle connection, so that it closes first
        "timeout_graceful_shutdown": 10,
    }
    async with app.running(), serving(app.operator, settings.operator), serving(app.customer, settings.listen, **fast):
        freeze_startup_objects()
        _log.info("serving", extra={"port": settings.listen.port, "operator_port": settings.operator.port})
        await shutdown.wait()
        _log.info("draining")


@cli.command()
def serve() -> None:
    """An app server: customers' port and operators' port."""
    uvloop.run(_serve(_settings("api")))


@cli.command()
def work() -> None:
    """The worker: orders out to the venue, reports in."""
    freeze_startup_objects()
    uvloop.run(run_worker(_settings("worker")))


@cli.command()
def relay() -> None:
    """The relay: outbox to Kafka."""
    freeze_startup_objects()
    uvloop.run(run_relay(_settings("relay")))


@cli.command()
def migrate() -> None:
    """Bring the schema and the market calendar to this release (needs CELL_POSTGRES__OWNER_DSN)."""
    settings = _settings("migrate")
    if settings.postgres.owner_dsn is None:
        raise typer.BadParameter("set CELL_POSTGRES__OWNER_DSN: migrations run as the owner, not as the service")
    applied = asyncio.run(migrate_database(settings.postgres.owner_dsn, package="cell"))
    sessions = asyncio.run(write_calendar(settings.postgres.owner_dsn, make_clock(settings.clock).now()))
    asyncio.run(run_statements(settings.postgres.owner_dsn, rehearsal_statements(settings.clock.offset_s)))
    _log.info(
        "schema and calendar are current",
        extra={
            "level": applied.level,
            "migrations": applied.migrations,
            "procedures": applied.procedures,
            "sessions": sessions,
        },
    )


@cli.command()
def calendar() -> None:
    """Bring the market calendar alone to what this release knows (needs CELL_POSTGRES__OWNER_DSN)."""
    settings = _settings("calendar")
    if settings.postgres.owner_dsn is None:
        raise typer.BadParameter("set CELL_POSTGRES__OWNER_DSN: the calendar is the owner's, not the service's")
    sessions = asyncio.run(write_calendar(settings.postgres.owner_dsn, make_clock(settings.clock).now()))
    _log.info("calendar is current", extra={"sessions": sessions})


if __name__ == "__main__":
    cli()
