"""A client asks for a WebSocket: judged like any request (token, limits, route, 421 once), then a tunnel.

What the cell answers other than 101 goes to the client as an ordinary answer.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from router.answer import write_answer_head
from router.budget import budget_ms
from router.errors import CellOverloaded, CellUnavailable, RouterRefusal, TooManyRequests
from router.fleet import Upstream
from router.headers import as_upgrade, write_request
from router.tunnel import Tunnel

if TYPE_CHECKING:
    from router.forward import ForwardedRequest


async def _open_tunnel(request: "ForwardedRequest") -> Tunnel:
    """Ask the user's cell for the upgrade, following one 421. Raises a `RouterRefusal`."""
    tunnel = await _ask(request)
    if tunnel.status == 421:
        misroutes = request.forwarder.misroutes
        request.forwarder.routes.forget(request.head.authorization)
        request.route.cell.figures.misdirected += 1
        tunnel.close()
        request.route = await misroutes.find_owner(request.route, tunnel.body)
        tunnel = await _ask(request)
        try:
            misroutes.check_followed(request.route, tunnel.status, tunnel.body)
        except RouterRefusal:
            tunnel.close()
            raise
    return tunnel


async def _ask(request: "ForwardedRequest") -> Tunnel:
    cell, whom = request.route.cell, request.route.user_id.int
    if not cell.streams.try_acquire(whom):
        if cell.streams.has_full_share(whom):
            raise TooManyRequests("as many open streams as one customer may have")
        raise CellOverloaded("the cell has as many open streams as it may have")
    tunnel = Tunnel(request, leave_place=lambda: cell.streams.release(whom))
    try:
        await _ask_cell(request, cell, tunnel)
    except BaseException:
        tunnel.give_up_place()
        raise
    return tunnel


async def _ask_cell(request: "ForwardedRequest", cell: Upstream, tunnel: Tunnel) -> None:
    loop = asyncio.get_running_loop()
    if request.budget_s <= 0:
        raise CellOverloaded("there was no time left to ask the cell; nothing was done")
    server = cell.pick_server(request.route.user_id.int, loop.time())
    try:
        async with asyncio.timeout(request.deadline_s - loop.time()):
            await loop.create_connection(lambda: tunnel, server.host, server.port)
            try:
                tunnel.send(_written_for(request, server.host_header))
                await tunnel.answered
            except BaseException:
                tunnel.close()
                raise
    except (OSError, TimeoutError) as error:
        server.breaker.fail(loop.time())
        raise CellUnavailable("the cell that serves this user does not answer") from error
    server.breaker.succeed()


def _written_for(request: "ForwardedRequest", host: bytes) -> bytes:
    """The upgrade as the cell gets it."""
    head = request.head
    written = write_request(
        method=request.method,
        target=request.target,
        host=host,
        route_token=request.route.token,
        request_id=head.request_id,
        trace=head.trace,
        budget_ms=budget_ms(request.deadline_s, monotonic()),
        passed=head.passed,
        body=b"",
    )
    return as_upgrade(written)


async def _open_for_the_valid(request: "ForwardedRequest") -> Tunnel:
    """Whose token ended while the cell was asked gets no stream: nobody would end it later."""
    tunnel = await _open_tunnel(request)
    try:
        request.forwarder.routes.of_request(request.head.authorization)
    except RouterRefusal:
        tunnel.close()
        raise
    return tunnel


async def run_tunnel(request: "ForwardedRequest") -> None:
    """From the request to the open tunnel, or to an ordinary answer."""
    try:
        tunnel = await _open_for_the_valid(request)
    except RouterRefusal as refusal:
        request.refuse(refusal)
        return
    if tunnel.status != 101:
        _deliver_refused(request, tunnel)
        tunnel.close()
    elif request.disconnected:
        tunnel.close()
        request.end()
    else:
        tunnel.open()
        if request.edge.draining:
            request.edge.shutdown()  # now there is a tunnel to say goodbye to


def _deliver_refused(request: "ForwardedRequest", tunnel: Tunnel) -> None:
    """The cell's ordinary answer to an upgrade it does not want."""
    request.route.cell.figures.answered(tunnel.status, monotonic() - request.received_s)
    if not request.disconnected:
        kept = [header for header in tunnel.headers if header[0] != b"content-length"]
        ours = request.limit_headers(monotonic())
        parts = write_answer_head(tunnel.status, kept, ours, len(tunnel.body), chunked=False, last=True)
        request.edge.transport.write(b"".join([*parts, tunnel.body]))
    request.end()
