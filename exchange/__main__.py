"""`python -m exchange serve`."""

import asyncio

import typer
import uvloop

from exchange.app import run_exchange
from exchange.settings import ExchangeSettings
from infra.runtime.garbage_collection import freeze_startup_objects
from infra.runtime.logs import configure_logging
from infra.runtime.shutdown import Shutdown

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The market outside, for the local stack.")


@app.callback()
def main() -> None:
    """The market outside, for the local stack."""


@app.command()
def serve() -> None:
    """Serve cells and operators until SIGTERM. Settings come from the environment (EXCHANGE_...)."""
    settings = ExchangeSettings()  # type: ignore[call-arg]  # the environment fills it
    configure_logging("exchange", settings.log_level, warning_tracebacks=settings.log_warning_tracebacks)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: ExchangeSettings) -> None:
    shutdown = Shutdown()
    shutdown.install()
    freeze_startup_objects()
    await run_exchange(settings, shutdown)


if __name__ == "__main__":
    app()
