"""Around every answer of the control service: which release gave it. A command of another wire is let in no further.

Outermost, so that refusals and unknown paths tell it too. A request without the header is a person with `curl`, or a
command of before there was one, which speaks wire 1.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from infra.runtime.problem import MEDIA_TYPE, problem_body
from shardctl.errors import Exit
from shardctl.release import HEADER, Release, parse_release, refuse_wire

_NAME: Final = HEADER.lower().encode()
_STATUS: Final = 426
"""Upgrade Required (RFC 9110 15.5.22)."""

AsgiApp = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


def telling_release(app: AsgiApp, release: Release) -> AsgiApp:
    told = (_NAME, release.header().encode())

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), told]}
            await send(message)

        command = parse_release(dict(scope["headers"]).get(_NAME, b"").decode("latin-1"))
        refusal = None if command is None else refuse_wire(release, command)
        if refusal is None:
            return await app(scope, receive, sending)
        body = problem_body(_STATUS, "OTHER_WIRE", refusal, None, {"exit_code": int(Exit.NOT_REACHABLE)})
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await sending({"type": "http.response.start", "status": _STATUS, "headers": headers})
        await sending({"type": "http.response.body", "body": body})

    return tell
