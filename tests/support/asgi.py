"""An ASGI application asked without a socket."""

import json
from collections.abc import Mapping
from typing import Any


async def ask_asgi(
    app: Any,
    method: str,
    target: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
    raw: bool = False,
) -> tuple[int, dict[str, str], Any]:
    """Status, headers, and the decoded body; with `raw` its bytes."""
    path, _, query = target.partition("?")
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent_headers = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    sent_headers += [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(sent))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "headers": sent_headers,
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    answered = b"".join(message.get("body", b"") for message in messages[1:])
    names = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    if raw:
        return messages[0]["status"], names, answered
    return messages[0]["status"], names, json.loads(answered) if answered else None
