"""Bytes become the same requests however they are cut, and a listener is told of nothing after a refusal."""

from dataclasses import dataclass, field

import pytest

from router.errors import RouterRefusal
from router.framing import RequestParser
from router.request import Request
from router.settings import EdgeSettings

CONVERSATION = (
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nX-Idempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\nTrailer: t\r\n\r\n"
    b"POST http://y/v1/users HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc"
    b"GET /docs HTTP/1.0\r\n\r\n"
)
CHUNKED = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"


@dataclass
class Listener:
    takes_upgrades: bool = False
    headed: list[bytes] = field(default_factory=list)
    complete: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    upgraded: bytes = b""

    def request_headed(self, request: Request) -> bool:
        self.headed.append(request.target)
        return self.takes_upgrades and request.asks_for_websocket

    def request_complete(self, request: Request) -> None:
        self.complete.append(request)

    def request_refused(self, request: Request, refusal: RouterRefusal) -> None:
        self.refused.append(refusal.code)
        self.parser.stop()

    def bytes_upgraded(self, data: bytes) -> None:
        self.upgraded += data

    def __post_init__(self) -> None:
        self.parser = RequestParser(self, EdgeSettings(body_bytes_max=8), lambda: 1.0)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000])
def test_requests_are_the_same_however_their_bytes_are_cut(piece_bytes: int) -> None:
    listener = Listener()
    for at in range(0, len(CONVERSATION), piece_bytes):
        listener.parser.feed(CONVERSATION[at : at + piece_bytes])
    said = [(each.method, each.target, each.body, each.keep_alive) for each in listener.complete]
    assert said == [
        (b"POST", b"/v1/orders", b"{}", True),
        (b"POST", b"/v1/users", b"abc", True),
        (b"GET", b"/docs", b"", False),
    ]
    assert [each.has_key for each in listener.complete] == [True, False, False]
    assert (b"host", b"y") in listener.complete[1].headers
    assert (listener.refused, listener.parser.reading_since_s) == ([], 0.0)


@pytest.mark.parametrize("is_taken", [True, False])
def test_what_follows_an_upgrade_is_handed_on_or_read_as_the_listener_says(is_taken: bool) -> None:
    listener = Listener(takes_upgrades=is_taken)
    listener.parser.feed(WEBSOCKET + CONVERSATION)
    assert listener.upgraded == (CONVERSATION if is_taken else b"")
    assert len(listener.complete) == (1 if is_taken else 4)


@pytest.mark.parametrize(
    ("said", "code", "headed"),
    [
        (b"POST /v1/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "BODY_TOO_LARGE", []),
        (CHUNKED + b"9\r\n123456789\r\n", "BODY_TOO_LARGE", [b"/v1/a"]),
        (CHUNKED + b"no chunk\r\n", "INVALID_FIELD", [b"/v1/a"]),
        (b"NOT HTTP AT ALL\r\n\r\n", "INVALID_FIELD", []),
    ],
)  # fmt: skip
def test_nothing_is_read_after_a_refusal(said: bytes, code: str, headed: list[bytes]) -> None:
    listener = Listener()
    listener.parser.feed(said + CONVERSATION)
    listener.parser.feed(CONVERSATION)
    assert (listener.refused, listener.headed, listener.complete) == ([code], headed, [])
