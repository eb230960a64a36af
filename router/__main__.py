"""`python -m router serve`."""

import typer
import uvloop

from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import configure_logging
from router.app import Router
from router.settings import RouterSettings

commands = typer.Typer(add_completion=False, no_args_is_help=True)


@commands.callback()
def router() -> None:
    """The shard router."""


@commands.command()
def serve() -> None:
    """Serve customers until SIGTERM, then finish what is in flight."""
    settings = RouterSettings()  # type: ignore[call-arg]  # from the environment
    configure_logging(settings.name)
    uvloop.run(_serve(settings))


async def _serve(settings: RouterSettings) -> None:
    shutdown = Shutdown()
    shutdown.install()
    async with Router(settings).serving():
        await shutdown.wait()


if __name__ == "__main__":
    commands()
