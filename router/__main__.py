"""`python -m router serve`. SIGTERM drains and ends; SIGHUP drains and begins anew in the same process, on the same
listening socket, so that a reload refuses nobody.

Who connects during a reload waits for the next image. So a SIGTERM that comes then is kept for it: it begins, serves
whoever waits, and ends.
"""

import asyncio
import os
import shlex
import signal
import sys
import threading
from typing import Final

import typer
import uvloop

from infra.runtime.garbage_collection import freeze_startup_objects
from infra.runtime.logs import configure_logging
from infra.runtime.shutdown import Shutdown
from router.app import Router
from router.settings import RouterSettings

_SIGNALS: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

commands = typer.Typer(add_completion=False, no_args_is_help=True)


@commands.callback()
def router() -> None:
    """The shard router."""


@commands.command()
def serve() -> None:
    """Serve customers until SIGTERM, then finish what is in flight. SIGHUP: the same, then start anew."""
    settings = RouterSettings()  # type: ignore[call-arg]  # from the environment
    configure_logging(settings.name, warning_tracebacks=settings.log_warning_tracebacks)
    listener_fd = uvloop.run(_serve(settings))
    if listener_fd is not None:
        _exec_next_image(listener_fd, settings.reload_command)


class _ShutdownOrReload(Shutdown):
    """The end of this image, perhaps of the process; a SIGTERM overrules a SIGHUP, whichever comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.reloads = False

    def install(self) -> None:
        super().install()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, False)
        loop.add_signal_handler(signal.SIGHUP, self._ask, True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # the image before this one may have kept some for us

    def _ask(self, reloads: bool) -> None:
        self.reloads = reloads and not (self.asked and not self.reloads)
        self.ask()


async def _serve(settings: RouterSettings) -> int | None:
    """The file descriptor of the listening socket, if the next image shall go on with it."""
    shutdown = _ShutdownOrReload()
    shutdown.install()
    part = Router(settings)
    async with part.serving(keeps_listener=lambda: shutdown.reloads):
        freeze_startup_objects()
        await shutdown.wait()
    listener = part.listener
    if listener is None or listener.fileno() < 0:
        return None  # closed: nobody waits at it any more
    await _keep_signals()
    if not shutdown.reloads:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # to this thread: the others do not outlive it
    return listener.detach()


async def _keep_signals() -> None:
    """From here on they wait for the next image; what came before is still heard here."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    await asyncio.sleep(0.01)  # the loop's handlers run for signals that had come before the mask


def _exec_next_image(listener_fd: int, reload_command: str) -> None:
    os.set_inheritable(listener_fd, True)
    os.environ["ROUTER_LISTEN_FD"] = str(listener_fd)
    command = shlex.split(reload_command) or [sys.executable, "-m", "router", "serve"]
    os.execvp(command[0], command)


if __name__ == "__main__":
    commands()
