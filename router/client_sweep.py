"""Close who is idle for long and who takes too long to send a request: once a second for all, so that a connection
needs no timer of its own.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from router.settings import EdgeSettings

if TYPE_CHECKING:
    from router.edge import EdgeProtocol


def sweep_clients(clients: "Iterable[EdgeProtocol]", settings: EdgeSettings, now_s: float) -> None:
    for client in [*clients]:
        transport, cycle = client.transport, client.current
        if transport.is_closing():
            client.closing_since_s = client.closing_since_s or now_s
            if now_s - client.closing_since_s > settings.close_s:
                transport.abort()  # its last answer is still not taken
        elif client.hung_up_at_s:
            if now_s - client.hung_up_at_s > settings.linger_s:
                transport.close()
        elif client.reading_since_s and not client.pipeline:  # with a pipeline it is we who do not read on
            limit_s = settings.head_read_s if client.in_head else settings.request_read_s
            if now_s - client.reading_since_s > limit_s:
                transport.abort()
        elif client.active is not None and client.active.tunnel is not None:
            if now_s - client.active.tunnel.moved_s > settings.tunnel_idle_s:
                client.active.tunnel.close()
        elif client.turn is None:
            limit_s = settings.keep_alive_s if cycle is not None else settings.first_byte_s
            if now_s - client.idle_since_s > (settings.drain_idle_s if client.draining else limit_s):
                transport.close()
