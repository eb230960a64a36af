"""The methods of a resource as RFC 9110 wants them, for every Litestar application of ours.

HEAD is served wherever GET is: the application answers GET, and uvicorn sends the head of that answer alone, with the
length of the body that is left out. `Allow` names every method of the path, whichever handlers have them, and an answer
without content has no length.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from litestar import Litestar
from litestar.routes import HTTPRoute

Message = MutableMapping[str, Any]
Headers = Iterable[tuple[bytes, bytes]]
_PARAMETER: Final = re.compile(r"\\\{[^}]*\\\}")
_TRUER: Final = {204: frozenset({b"allow", b"content-length"}), 405: frozenset({b"allow"})}


class Methods:
    """What every path of an application may be asked."""

    def __init__(self, app: Litestar) -> None:
        of_path: dict[str, set[str]] = {}
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                of_path.setdefault(route.path_format, set()).update(map(str, route.methods))
        self._of_path = [
            (re.compile(_PARAMETER.sub("[^/]+", re.escape(path))), _allow(methods))
            for path, methods in sorted(of_path.items(), key=lambda item: _plain_first(item[0]))
        ]

    def of(self, path: str) -> bytes | None:
        """The value of `Allow`. None: there is no such path."""
        path = path.rstrip("/") or "/"
        return next((allow for pattern, allow in self._of_path if pattern.fullmatch(path)), None)

    def truer(self, status: int, path: str, headers: Headers) -> Headers:
        """The headers of an answer, with `Allow` as it is."""
        wrong = _TRUER.get(status)
        if wrong is None:
            return headers
        kept = [header for header in headers if header[0].lower() not in wrong]
        allow = self.of(path)
        return kept if allow is None else [*kept, (b"allow", allow)]


def as_get(scope: Message) -> Message:
    """A request for a head, as one for the whole answer. uvicorn keeps the true method and leaves the body out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


class WithMethods:
    """A Litestar application as an ASGI application that obeys this."""

    def __init__(self, app: Litestar) -> None:
        self._app: Callable[[Any, Any, Any], Awaitable[None]] = app
        self._methods = Methods(app)

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]

        async def send_truer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._methods.truer(message["status"], path, message["headers"])
            await send(message)

        await self._app(as_get(scope), receive, send_truer)


def _allow(methods: set[str]) -> bytes:
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods)).encode()


def _plain_first(path: str) -> list[bool]:
    """Litestar prefers what is spelled out to what is a parameter, from the left."""
    return ["{" in part for part in path.split("/")]
