"""HAProxy as a peer: whether it is there, how it is configured, and what is sent to it and to our router: requests,
and a token that it checks."""

import base64
import hmac
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from loadtests.measurement.refusal import MeasurementRefused

MAP_LINES: Final = 65_536
"""One a bucket, as our map has."""
_SECRET: Final = "haproxy-benchmark-secret-haproxy-benchmark"
_BODY: Final = b'{"symbol":"AAPL","side":"buy","type":"limit","qty":"10","limit_price":"187.25","time_in_force":"day"}'
_ANSWER: Final = (
    '{"order_id":"0190c5a2-7c00-7000-8000-000000000001","client_order_id":null,"symbol":"AAPL","side":"buy",'
    '"type":"limit","qty":"10","filled_qty":"0","status":"new","created_at":"2026-01-01T00:00:00.000000Z"}'
)


def wrk_script(tokens: list[str], *, pause_ms: int = 0) -> str:
    """Requests are written once, before the clock runs; wrk then only counts and sends.

    `pause_ms`: how long a connection rests before its next request, on average; latency does not count it.
    """
    rest = f"function delay() return math.random(0, {2 * pause_ms}) end" if pause_ms else ""
    quoted = ",".join(f'"{token}"' for token in tokens)
    return f"""
local tokens = {{{quoted}}}
local requests = {{}}
local threads = {{}}
local at = 0
wrong = 0
function setup(thread) table.insert(threads, thread) end
function init()
  for i, token in ipairs(tokens) do
    requests[i] = wrk.format("POST", "/v1/orders", {{
      ["Authorization"] = "Bearer " .. token, ["X-Idempotency-Key"] = "key-" .. i,
      ["Content-Type"] = "application/json"}}, '{_BODY.decode()}')
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
{rest}
function response(status) if status ~= 201 then wrong = wrong + 1 end end
function done(summary, latency)
  local bad = 0
  for _, thread in ipairs(threads) do bad = bad + thread:get("wrong") end
  local e = summary.errors
  io.write(string.format("DONE %d %d %d %d %d\\n", summary.requests, bad, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def hs256(user: UUID, expires_at_s: int) -> str:
    """What HAProxy 2.6 can verify, with the claims of ours."""
    claims = {"iss": "cell-brokerage", "aud": "cell-brokerage/v1", "sub": str(user), "exp": expires_at_s}
    parts = [
        _b64(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = ".".join(parts)
    return f"{signed}.{_b64(hmac.digest(_SECRET.encode(), signed.encode(), 'sha256'))}"


def users_map(users: Sequence[UUID]) -> str:
    """Where each of them is, and strangers up to `MAP_LINES`."""
    return "".join(f"{user} cell-1\n" for user in [*users, *(uuid4() for _ in range(MAP_LINES - len(users)))])


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_DEFAULTS: Final = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 8s
  timeout http-keep-alive 60s
  option http-keep-alive
"""


def upstream_config(port: int) -> str:
    return f"""{_DEFAULTS}
frontend cell
  bind 127.0.0.1:{port}
  http-request return status 201 content-type application/json string '{_ANSWER}' hdr X-Cell cell-1
"""


def haproxy_config(port: int, upstream_port: int, users: Path) -> str:
    """Verify, look up, forward with keep-alive on both sides."""
    return f"""{_DEFAULTS}
  http-reuse always
frontend customers
  bind 127.0.0.1:{port}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str HS256 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{_SECRET}") 1 }}
  http-request set-var(txn.now) date
  http-request set-var(txn.left) var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now)
  http-request deny deny_status 401 if {{ var(txn.left) -m int lt 0 }}
  http-request set-var(txn.cell) var(txn.bearer),jwt_payload_query('$.sub'),map_str({users})
  http-request deny deny_status 503 unless {{ var(txn.cell) -m found }}
  http-request del-header authorization
  use_backend %[var(txn.cell)]
backend cell-1
  server api 127.0.0.1:{upstream_port} maxconn 256
"""


def need_programs(*names: str) -> None:
    """Raises MeasurementRefused if one of them is not there, with all that is to be installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join("util-linux" if name == "taskset" else name for name in missing)
        raise MeasurementRefused(f"{', '.join(missing)} not installed: apt-get install {packages}")


def program_version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()
