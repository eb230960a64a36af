"""Our router beside HAProxy: the same requests, the same upstream, one pinned core for whoever is measured.

HAProxy checks a JWT (HS256: its 2.6 knows no EdDSA), its expiry, and looks the user up in a map; ours does what it does
in a stack. The upstream is a second HAProxy that answers from memory, so neither side waits for it; client and upstream
share the other core. Rounds are short and alternate, because the machine may be busy with other things: believe the
ratios and the CPU time per request, which do not count what others used. Needs `apt-get install haproxy wrk`; nothing
else in the project does.
"""

import asyncio
import base64
import hmac
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID, uuid4

import psutil

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from infra.topology.bucketing import BUCKET_COUNT
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import build_map
from infra.topology.snapshot import decode_map, encode_map
from loadtests.benchmarks.conditions import conditions, write_result
from loadtests.benchmarks.orders_per_second import MeasurementRefused, Say
from loadtests.benchmarks.own_processes import await_port, free_port, running, running_router
from loadtests.figures import percentile

USERS: Final = 1_000
MAP_LINES: Final = 65_536
CONNECTIONS: Final = 64
PACED_CONNECTIONS: Final = 16
IDLE_CONNECTIONS: Final = 10_000
_SECRET: Final = "haproxy-benchmark-secret-haproxy-benchmark"
_PROXY_CORE: Final = 0
_LOAD_CORE: Final = 1
_BODY: Final = b'{"symbol":"AAPL","side":"buy","type":"limit","qty":"10","limit_price":"187.25","time_in_force":"day"}'
_ANSWER: Final = (
    '{"order_id":"0190c5a2-7c00-7000-8000-000000000001","client_order_id":null,"symbol":"AAPL","side":"buy",'
    '"type":"limit","qty":"10","filled_qty":"0","status":"new","created_at":"2026-01-01T00:00:00.000000Z"}'
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that forwards, or the upstream itself."""

    name: str
    port: int
    pid: int
    tokens: list[str]


def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    for program in ("haproxy", "wrk", "taskset"):
        if shutil.which(program) is None:
            raise MeasurementRefused(f"{program} is not installed: apt-get install haproxy wrk util-linux")
    where = conditions()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="router-vs-haproxy-")))
        peers = _start_peers(stack, folder)
        measured: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
        for number in range(rounds + 1):  # the first round warms up and is not kept
            for peer in peers if number % 2 else reversed(peers):
                figures = _round(peer, folder, seconds)
                if number:
                    measured[peer.name].append(figures)
            say(f"round {number} of {rounds}" if number else "warmed up")
        rate = 0.5 * median(each["per_core_second"] for each in measured["router"])
        idle = asyncio.run(_idle(peers[-1]))
        say("idle connections counted")
        paced: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
        for number in range(rounds):
            for peer in peers:
                paced[peer.name].append(asyncio.run(_paced(peer, per_s=min(rate, 4_000.0), seconds=seconds)))
            say(f"paced round {number + 1} of {rounds}")
    document = {
        "benchmark": "router_vs_haproxy",
        "what": "an order-sized POST through our router and through HAProxy with JWT check and map lookup",
        "conditions": where | {"haproxy": _version("haproxy", "-v"), "wrk": _version("wrk", "-v")},
        "settings": {
            "connections": CONNECTIONS, "seconds": seconds, "rounds": rounds, "users": USERS, "map_lines": MAP_LINES,
            "proxy_core": _PROXY_CORE, "load_core": _LOAD_CORE, "paced_connections": PACED_CONNECTIONS,
            "paced_per_s": round(min(rate, 4_000.0)),
        },
        "median": summary(measured, paced) | {"idle": idle, "map": measure_map()},
        "rounds": measured,
        "paced_rounds": paced,
    }  # fmt: skip
    return document, write_result("router_vs_haproxy", document)


def summary(measured: dict[str, list[dict[str, float]]], paced: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds, and the ratios the issue asks for; ratios are taken within a round."""
    found: dict[str, Any] = {}
    for name, rounds in measured.items():
        found[name] = {figure: round(median(each[figure] for each in rounds), 2) for figure in rounds[0]}
        for figure in ("p50_ms", "p99_ms"):
            found[name][f"paced_{figure}"] = round(median(each[figure] for each in paced[name]), 3)
    pairs = list(zip(measured["router"], measured["haproxy"], strict=True))
    for figure in ("per_core_second", "per_s"):
        found[f"router_of_haproxy_{figure}"] = round(median(a[figure] / b[figure] for a, b in pairs), 3)
    for name in ("router", "haproxy"):
        for figure in ("p50_ms", "p99_ms"):
            added = [a[figure] - b[figure] for a, b in zip(paced[name], paced["upstream"], strict=True)]
            found[f"{name}_added_{figure}"] = round(median(added), 3)
    return found


def _start_peers(stack: ExitStack, folder: Path) -> list[Peer]:
    users = [uuid4() for _ in range(USERS)]
    upstream_port, haproxy_port, router_port = free_port(), free_port(), free_port()
    upstream = stack.enter_context(_haproxy(folder / "upstream.cfg", upstream_config(upstream_port), _LOAD_CORE))
    (folder / "users.map").write_text("".join(f"{user} cell-1\n" for user in [*users, *_others(MAP_LINES - USERS)]))
    config = haproxy_config(haproxy_port, upstream_port, folder / "users.map")
    haproxy = stack.enter_context(_haproxy(folder / "haproxy.cfg", config, _PROXY_CORE))
    cells = {"cell-1": f"http://127.0.0.1:{upstream_port}"}
    router = stack.enter_context(running_router(folder, router_port, cells, core=_PROXY_CORE))
    signer = CustomerTokenSigner(load_signing_ring(folder / "keys" / CUSTOMER_SIGNING_FILE))
    now_s = int(time.time())
    ours = [signer.sign(user, now_s) for user in users]
    theirs = [hs256(user, now_s + 3600) for user in users]
    for port in (upstream_port, haproxy_port, router_port):
        await_port(port)
    return [
        Peer("upstream", upstream_port, upstream, theirs),
        Peer("haproxy", haproxy_port, haproxy, theirs),
        Peer("router", router_port, router, ours),
    ]


def _others(count: int) -> Iterator[UUID]:
    return (uuid4() for _ in range(count))


def _round(peer: Peer, folder: Path, seconds: int) -> dict[str, float]:
    """As fast as it goes. CPU time is that of the peer alone."""
    script = folder / f"{peer.name}.lua"
    script.write_text(wrk_script(peer.tokens))
    process = psutil.Process(peer.pid)
    before, began = _cpu_s(process), time.monotonic()
    done = subprocess.run(
        ["taskset", "-c", str(_LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s",
         str(script), f"http://127.0.0.1:{peer.port}"],
        capture_output=True, text=True, timeout=seconds + 60, check=True,
    )  # fmt: skip
    elapsed_s, cpu_s = time.monotonic() - began, _cpu_s(process) - before
    counts = re.search(r"DONE (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if counts is None:
        raise MeasurementRefused(f"wrk said nothing useful: {done.stdout[-500:]}{done.stderr[-500:]}")
    requests, wrong, broken, p50_us, p99_us = map(int, counts.groups())
    if wrong or broken or not requests:
        raise MeasurementRefused(f"{peer.name}: {wrong} of {requests} answers were wrong, {broken} connections broke")
    return {
        "requests": requests,
        "per_s": round(requests / elapsed_s, 1),
        "cpu_us_per_request": round(cpu_s / requests * 1e6, 2),
        "per_core_second": round(requests / cpu_s, 1) if cpu_s else 0.0,
        "core_share": round(cpu_s / elapsed_s, 3),
        "p50_ms": p50_us / 1000,
        "p99_ms": p99_us / 1000,
    }


async def _paced(peer: Peer, *, per_s: float, seconds: int) -> dict[str, float]:
    """At a fixed rate, each request at its own time whether or not the one before was quick."""
    os.sched_setaffinity(0, {_LOAD_CORE})
    latencies: list[float] = []
    ends_at = time.perf_counter() + seconds
    pause_s = PACED_CONNECTIONS / per_s

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        due = time.perf_counter() + pause_s * number / PACED_CONNECTIONS
        count = number
        while (now := time.perf_counter()) < ends_at:
            if due > now:
                await asyncio.sleep(due - now)
            count += PACED_CONNECTIONS
            began = time.perf_counter()
            writer.write(request_bytes(peer.tokens[count % USERS], f"k{number}-{count}"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length.group(1)) if length else 0)
            latencies.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 201"):
                raise MeasurementRefused(f"{peer.name} answered {head[:60]!r}")
            due += pause_s
        writer.close()

    try:
        await asyncio.gather(*(client(number) for number in range(PACED_CONNECTIONS)))
    finally:
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    return {
        "per_s": round(len(latencies) / seconds, 1),
        "p50_ms": percentile(latencies, 0.50) * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
    }


async def _idle(peer: Peer) -> dict[str, float]:
    """Memory of keep-alive connections that have asked once and then say nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    process = psutil.Process(peer.pid)
    before = process.memory_info().rss
    writers: list[asyncio.StreamWriter] = []
    refused = 0
    for number in range(IDLE_CONNECTIONS):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
            writer.write(request_bytes(peer.tokens[number % USERS], f"idle-{number}"))
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            refused += 1
            continue
        refused += not head.startswith(b"HTTP/1.1 201")
        writers.append(writer)
    grown = process.memory_info().rss - before
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(1)
    kept = len(writers)
    return {"connections": kept, "refused": refused, "kib_each": round(grown / 1024 / kept, 2) if kept else 0.0}


def measure_map() -> dict[str, float]:
    """Load and look up: 65,536 buckets and a million pins, on whatever core is free."""
    cell = Cell(CellId("cell-1"), api_urls=("http://127.0.0.1:1",))
    pins = [(UUID(bytes=os.urandom(16)), "cell-1") for _ in range(1_000_000)]
    buckets = dict.fromkeys(range(BUCKET_COUNT), "cell-1")
    document = encode_map(build_map(lineage=uuid4(), epoch=1, cells=[cell], buckets=buckets, pins=pins))
    began = time.perf_counter()
    shard_map = decode_map(document)
    loaded_s = time.perf_counter() - began
    users = [user for user, _ in pins[:50_000]] + [uuid4() for _ in range(50_000)]
    took_ns = []
    for user in users:
        at = time.perf_counter_ns()
        shard_map.locate(user)
        took_ns.append(time.perf_counter_ns() - at)
    took_ns.sort()
    return {
        "pins": shard_map.pin_count,
        "load_s": round(loaded_s, 3),
        "size_mib": round(shard_map.size_bytes / 2**20, 1),
        "lookup_p50_us": took_ns[len(took_ns) // 2] / 1000,
        "lookup_p99_us": took_ns[len(took_ns) * 99 // 100] / 1000,
    }


def request_bytes(token: str, key: str) -> bytes:
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nX-Idempotency-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    )
    return head.encode() + _BODY


def wrk_script(tokens: list[str]) -> str:
    """Requests are written once, before the clock runs; wrk then only counts and sends."""
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


@contextmanager
def _haproxy(path: Path, config: str, core: int) -> Iterator[int]:
    path.write_text(config)
    with running(["taskset", "-c", str(core), "haproxy", "-db", "-q", "-f", str(path)], {}) as pid:
        yield pid


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()
