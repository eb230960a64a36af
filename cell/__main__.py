"""`python -m cell serve | work | relay`: the processes of one cell; `migrate | drop-code | fence`: what its database
carries; `prove | compare-copy | heads`: what it holds. Settings come from `CELL_...`.

What a process alone needs is imported when it starts: a job of two statements need not load the HTTP server and all of
its pages, nor a worker the customers' ones.
"""

import asyncio
import logging
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
import typer
import uvloop

from cell.executions.trading_hours import write_calendar
from cell.incarnations.compare import PAGE, CopyComparison, compare_copy
from cell.incarnations.queries import FENCE
from cell.reconciliation.queries import list_event_heads
from cell.settings import CellSettings
from cell.trial_balance import run_trial_balance
from infra.runtime.clock import make_clock
from infra.runtime.code_installer import RELEASES_MAX
from infra.runtime.database import make_pool
from infra.runtime.dsn import with_clock_offset, with_code
from infra.runtime.garbage_collection import freeze_startup_objects
from infra.runtime.logs import configure_logging
from infra.runtime.migrator import MigrationPhase, drop_unused_code, read_pending
from infra.runtime.migrator import migrate as migrate_database
from infra.runtime.release_code import release_code
from infra.runtime.shutdown import Shutdown
from infra.runtime.statements import run_statement, run_statements

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
_log = logging.getLogger("cell")
_READ_TIMEOUT_MS = 300_000
"""Of a statement that reads whole tables: five minutes, where a customer's has seconds."""


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
    from cell.app import create_app
    from infra.runtime.operator_api import serving

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
    from cell.executions.worker import run_worker

    freeze_startup_objects()
    uvloop.run(run_worker(_settings("worker")))


@cli.command()
def relay() -> None:
    """The relay: outbox to Kafka."""
    from cell.outbox.relay import run_relay

    freeze_startup_objects()
    uvloop.run(run_relay(_settings("relay")))


def _owner_dsn(settings: CellSettings) -> str:
    if settings.postgres.owner_dsn is None:
        raise typer.BadParameter("set CELL_POSTGRES__OWNER_DSN: this is done as the owner, not as the service")
    return settings.postgres.owner_dsn


def _owner_dsn_with_code(settings: CellSettings, role: str) -> str:
    """For a procedure of this release that only the owner calls."""
    return with_code(_owner_dsn(settings), release_code("cell").schema, f"{settings.name}-{role}")


@cli.command()
def migrate(
    phase: Annotated[MigrationPhase, typer.Option(help="pre: beside running releases; post: when none is left.")] = (
        MigrationPhase.BOTH
    ),
    pending: Annotated[bool, typer.Option("--pending", help="Print what is missing, in JSON; change nothing.")] = False,
) -> None:
    """Bring the tables, the code and the market calendar to this release (needs CELL_POSTGRES__OWNER_DSN)."""
    settings = _settings("migrate")
    owner_dsn = _owner_dsn(settings)
    if pending:
        print(msgspec.json.encode(asyncio.run(read_pending(owner_dsn, package="cell"))).decode())
        return
    applied = asyncio.run(migrate_database(owner_dsn, package="cell", phase=phase))
    facts: dict[str, object] = asdict(applied)
    if phase is not MigrationPhase.POST:
        with_path = _owner_dsn_with_code(settings, "migrate")
        facts["sessions"] = asyncio.run(write_calendar(with_path, make_clock(settings.clock.offset_s).now()))
        asyncio.run(run_statements(owner_dsn, rehearsal_statements(settings.clock.offset_s)))
    _log.info("tables, code and calendar are current", extra=facts)
    if applied.waiting and phase is MigrationPhase.BOTH:
        _log.warning(
            "migrations wait until no older release runs: then run `python -m cell migrate --phase post`",
            extra={"waiting": applied.waiting},
        )


@cli.command("drop-code")
def drop_code(
    keep: Annotated[int, typer.Option(min=1, max=RELEASES_MAX, help="Releases left, this one among them.")] = 1,
) -> None:
    """Drop the code of older releases that no session uses (needs CELL_POSTGRES__OWNER_DSN). Their servers cannot come
    back to this database without `migrate` of their own."""
    settings = _settings("migrate")
    dropped = asyncio.run(drop_unused_code(_owner_dsn(settings), package="cell", keep=keep))
    _log.info("code of older releases dropped", extra={"dropped": dropped})


@cli.command()
def fence(
    incarnation: Annotated[str, typer.Option(help="A new UUID; the processes get it as CELL_INCARNATION.")],
    backup: Annotated[str, typer.Option(help="The label of the backup.")],
    actor: Annotated[str, typer.Option(help="Who restores.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    restored_to: Annotated[str, typer.Option(help="A time with its zone; empty: as far as the log goes.")] = "",
) -> None:
    """Note that this database was restored: nothing is written until it is opened (needs CELL_POSTGRES__OWNER_DSN)."""
    settings = _settings("fence")
    dsn = with_clock_offset(_owner_dsn_with_code(settings, "fence"), settings.clock.offset_s)
    values = [UUID(incarnation), backup, datetime.fromisoformat(restored_to) if restored_to else None, actor, reason]
    asyncio.run(run_statement(dsn, FENCE, values))
    _log.info("fenced", extra={"incarnation": incarnation, "backup": backup})


@cli.command()
def prove() -> None:
    """Run every ledger check and print what they found, as the last line, in JSON; changes nothing."""
    settings = _settings("prove")
    found = asyncio.run(_prove(settings))
    print(msgspec.json.encode(found).decode())


async def _prove(settings: CellSettings) -> dict[str, object]:
    unhurried = settings.postgres.model_copy(update={"statement_timeout_ms": _READ_TIMEOUT_MS})
    async with make_pool(unhurried, f"{settings.name}-prove", size=1) as pool, pool.connection() as connection:
        trial = await run_trial_balance(connection)
    return {"healthy": trial.healthy, **msgspec.to_builtins(trial)}


@cli.command("compare-copy")
def compare_copy_() -> None:
    """Compare this database, a restored copy, with its source (CELL_SOURCE_DSN), and print what was found, as the last
    line, in JSON; changes nothing."""
    settings = _settings("compare")
    print(msgspec.json.encode(asyncio.run(_compare(settings))).decode())


async def _compare(settings: CellSettings) -> CopyComparison:
    if settings.source_dsn is None:
        raise typer.BadParameter("set CELL_SOURCE_DSN: the database that this one is a copy of")
    copy = settings.postgres.model_copy(update={"statement_timeout_ms": _READ_TIMEOUT_MS})
    source = copy.model_copy(update={"dsn": settings.source_dsn})
    name = f"{settings.name}-compare"
    async with make_pool(copy, name, size=1) as copy_pool, make_pool(source, name, size=1) as source_pool:
        return await compare_copy(copy_pool, source_pool)


@cli.command()
def heads() -> None:
    """Print how far each user's events were written and published, one line of JSON for each; changes nothing."""
    asyncio.run(_heads(_settings("heads")))


async def _heads(settings: CellSettings) -> None:
    async with make_pool(settings.postgres, f"{settings.name}-heads", size=1) as pool:
        after: UUID | None = None
        while rows := await list_event_heads(pool, after=after, limit=PAGE):
            for row in rows:
                print(msgspec.json.encode(row).decode())
            after = rows[-1]["user_id"]


@cli.command()
def calendar() -> None:
    """Bring the market calendar alone to what this release knows (needs CELL_POSTGRES__OWNER_DSN)."""
    settings = _settings("calendar")
    with_path = _owner_dsn_with_code(settings, "calendar")
    sessions = asyncio.run(write_calendar(with_path, make_clock(settings.clock.offset_s).now()))
    _log.info("calendar is current", extra={"sessions": sessions})


if __name__ == "__main__":
    cli()
