"""The customers' socket, and how it is left: no request that reached it is dropped.

Draining stops accepting, takes over whoever already waits in the kernel's queue, answers every request with
`Connection: close`, and lets a silent keep-alive connection go only after it has said nothing for a while: a client
that was about to speak still gets its answer. A reload hands the listening socket itself to the next process image
(see `__main__`), so clients that connect meanwhile wait in its queue instead of being refused.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

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
async def serving_clients(
    make_client: Callable[[], asyncio.Protocol],
    listen: ListenSettings,
    listener: socket.socket,
    *,
    drain: Callable[[], Awaitable[None]],
    keeps_listener: Callable[[], bool],
) -> AsyncIterator[None]:
    """Accept on `listener` while the block runs, then drain. `keeps_listener` says, at that moment, whether the socket
    goes on (a reload: who connects from now on is left to the next image) or ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_client, sock=listener.dup(), backlog=listen.backlog)
    try:
        yield
    finally:
        server.close()
        if not keeps_listener():
            await _take_over_waiting(listener, make_client)
            listener.close()
        await drain()


async def _take_over_waiting(listener: socket.socket, make_client: Callable[[], asyncio.Protocol]) -> None:
    """Who has connected but was not accepted yet would be reset with the socket; they are served instead."""
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
        await loop.connect_accepted_socket(make_client, connection)
