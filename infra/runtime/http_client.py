"""HTTP between our own processes: pooled, with deadlines, and without any hidden retry.

For control traffic (sign-up, operators, documents). The router's customer path has a client of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of an answer, if nothing else is said: more than any page of ours has. A larger one is the peer's fault, and must not
cost our memory."""


class PeerUnreachable(Exception):
    """No connection could be made: nothing was sent."""


class OutcomeUnknown(Exception):
    """The request was sent, or may have been; whether it was done is not known."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """One pool for many peers; open it with `async with`."""

    def __init__(self, *, connections_per_host: int = 64, connect_timeout_s: float = 1.0) -> None:
        self._connections_per_host = connections_per_host
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=self._connections_per_host),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        answer_bytes_max: int = BODY_BYTES_MAX,
    ) -> HttpAnswer:
        """One attempt. Raises `PeerUnreachable` (safe to try elsewhere) or `OutcomeUnknown`, also for an answer that is
        longer than `answer_bytes_max`."""
        assert self._session is not None, "the client is not open"
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(self._connect_timeout_s, timeout_s))
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = bytearray()
                while not answer.content.at_eof() and len(content) <= answer_bytes_max:
                    content += await answer.content.read(answer_bytes_max + 1 - len(content))
                if len(content) > answer_bytes_max:
                    raise OutcomeUnknown(f"{url} answered with more than {answer_bytes_max} bytes")
                return HttpAnswer(answer.status, answer.headers, bytes(content))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise PeerUnreachable(f"{url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise OutcomeUnknown(f"{url}: {str(error) or type(error).__name__}") from error
