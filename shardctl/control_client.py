"""Client of the control service, for commands: one request, one answer, nothing kept. On this machine over its socket,
elsewhere by its URL with the person's token.

The standard library alone, so that a command that asks the service stays as quick as `--help`. Nothing is sent twice
here (`control_patience.py` says what may be).
"""

import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shardctl.errors import Blocked, Interrupted, NotAllowed, NotReachable, NotSent, Refused, ShardctlError, UsageError
from shardctl.release import HEADER, own_release

ANSWER_TIMEOUT_S: Final = 30.0
"""For answers that read some rows; making a plan asks processes, each for some seconds at most."""
_NEXT: Final = "`shardctl status`, `shardctl logs control`, `shardctl up`"
_BY_EXIT_CODE: Final[dict[int, type[ShardctlError]]] = {
    error.exit_code: error for error in (Refused, UsageError, NotReachable, Interrupted, Blocked)
}


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class RemoteService:
    """A control service elsewhere, and the token of who asks it."""

    url: str
    token: str = field(repr=False)

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None, "the context was checked"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=timeout_s)


class ControlClient:
    """Every call raises NotReachable (NotSent: nobody listens), and what the service refused with."""

    def __init__(self, service: Path | RemoteService, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """A path is that of the service's socket."""
        self._service = service
        self._timeout_s = timeout_s
        self.answered_by: str | None = None
        """The header of the last answer that tells the service's release (`release.py`); None if it had none."""

    def get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path, None)

    def post(self, path: str, body: object) -> dict[str, Any]:
        return self._request("POST", path, json.dumps(body).encode())

    def _request(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {HEADER: own_release().header()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if isinstance(self._service, RemoteService):
            connection = self._service.connect(self._timeout_s)
            headers["Authorization"] = f"Bearer {self._service.token}"
            path, following = urlsplit(self._service.url).path + path, f"is {self._service.url} right?"
        else:
            connection, following = _OverSocket(self._service, self._timeout_s), _NEXT
        is_connected = False
        try:
            connection.connect()
            is_connected = True
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.answered_by = answer.getheader(HEADER)
        except ssl.SSLCertVerificationError as error:  # nothing was sent, the token least of all
            assert isinstance(self._service, RemoteService)
            raise NotReachable(
                f"the certificate of {self._service.url} is not trusted here: {error.verify_message}; SSL_CERT_FILE "
                "names the authorities that are"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            kind = NotReachable if is_connected else NotSent
            raise kind(f"the control service does not answer ({error}): {following}") from error
        finally:
            connection.close()
        return _decoded(answer.status, content)


def _decoded(status: int, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise NotReachable(f"the control service answered {status} without JSON: `shardctl logs control`") from error
    if not isinstance(document, dict):
        raise NotReachable(f"the control service answered {status} with no object: `shardctl logs control`")
    if status in (401, 403):
        raise NotAllowed(str(document.get("detail", status)))
    if status >= 400:
        kind = _BY_EXIT_CODE.get(document.get("exit_code", 0), Refused)
        raise kind(str(document.get("detail", status)))
    return document
