"""The customers' socket, and how it is left: no request that reached it is dropped.

Draining stops accepting, takes over whoever already waits in the kernel's queue, answers every request with
`Connection: close`, and lets a silent keep-alive connection go only after it has said nothing for a while: a client
that was about to speak still gets its answer. A reload hands the listening socket itself to the next process image
(see `__main__`), so clients that connect meanwhile wait in its queue instead of being refused.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn

from infra.runtime.operator_api import make_server
from infra.runtime.settings import ListenSettings

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def open_listener(listen: ListenSettings, inherited_fd: int | None) -> socket.socket:
    """Our own socket, or the one that the process image before us held. Raises OSError if the port is taken."""
    if inherited_fd is not None:
        listener = socket.socket(fileno=inherited_fd)
    else:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        listener.listen(listen.backlog)
    listener.setblocking(False)
    listener.set_inheritable(False)
    return listener


@asynccontextmanager
async def serving_edge(
    app: Any,
    listen: ListenSettings,
    listener: socket.socket,
    *,
    http: Callable[..., Any],
    drain_s: float,
    keeps_listener: Callable[[], bool],
) -> AsyncIterator[None]:
    """Serve on `listener` while the block runs, then drain. `keeps_listener` says, at that moment, whether the socket
    goes on (a reload: who connects from now on is left to the next image) or ends."""
    server = make_server(app, listen, http=http, timeout_graceful_shutdown=drain_s)
    inner = listener.dup()
    task = asyncio.create_task(server._serve(sockets=[inner]), name=f"serve:{listen.port}")
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn tells it by a flag only
        await asyncio.sleep(0.01)
    if task.done():
        await task
        raise RuntimeError(f"could not serve on {listen.host}:{listen.port}")
    try:
        yield
    finally:
        for accepting in server.servers:
            accepting.close()
        if not keeps_listener():
            await _take_over_waiting(listener, server, http)
            listener.close()
        server.should_exit = True
        await task


async def _take_over_waiting(listener: socket.socket, server: uvicorn.Server, http: Callable[..., Any]) -> None:
    """Who has connected but was not accepted yet would be reset with the socket; he is served instead."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno in _NO_ROOM:
                return  # it would say so for ever, and nobody would be served meanwhile
            continue  # this one has left already
        connection.setblocking(False)
        await loop.connect_accepted_socket(
            lambda: http(config=server.config, server_state=server.server_state, app_state=server.lifespan.state),
            connection,
        )
