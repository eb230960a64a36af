"""`python -m router serve`. SIGTERM drains and ends; SIGHUP drains and begins anew in the same process, on the same
listening socket, so that a reload refuses nobody."""

import asyncio
import os
import signal
import sys

import typer
import uvloop

from infra.runtime.collector import set_startup_aside
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
    """Serve customers until SIGTERM, then finish what is in flight. SIGHUP: the same, then start anew."""
    settings = RouterSettings()  # type: ignore[call-arg]  # from the environment
    configure_logging(settings.name)
    listener_fd = uvloop.run(_serve(settings))
    if listener_fd is not None:
        _begin_anew(listener_fd)


class _Ending(Shutdown):
    """An end that may be followed by a new beginning; SIGTERM has the last word."""

    def __init__(self) -> None:
        super().__init__()
        self.begins_anew = False

    def install(self) -> None:
        super().install()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, False)
        loop.add_signal_handler(signal.SIGHUP, self._end, True)

    def _end(self, begins_anew: bool) -> None:
        self.begins_anew = begins_anew and not (self.asked and not self.begins_anew)
        self.ask()


async def _serve(settings: RouterSettings) -> int | None:
    """The listening socket, if the next image shall go on with it."""
    ending = _Ending()
    ending.install()
    part = Router(settings)
    async with part.serving(keeps_listener=lambda: ending.begins_anew):
        set_startup_aside()
        await ending.wait()
    if not ending.begins_anew or part.listener is None:
        return None
    return part.listener.detach()


def _begin_anew(listener_fd: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the next image listens to it
    os.set_inheritable(listener_fd, True)
    os.environ["ROUTER_LISTEN_FD"] = str(listener_fd)
    os.execv(sys.executable, [sys.executable, "-m", "router", "serve"])


if __name__ == "__main__":
    commands()
