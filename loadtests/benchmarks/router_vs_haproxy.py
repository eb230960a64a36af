"""Our router beside HAProxy: the same requests, the same upstream, one pinned core for whoever is measured.

HAProxy checks a JWT (HS256: its 2.6 knows no EdDSA), its expiry, and looks the user up in a map; ours does what it does
in a stack. The upstream is a second HAProxy that answers from memory, so neither side waits for it; client and upstream
share the other core. Rounds are short and alternate, because the machine may be busy with other things: believe the
ratios and the CPU time per request, which do not count what others used. Afterwards everybody gets half of what the
router took, its connections resting in between (a closed loop, so a stall delays what would have come in it), and the
added latency is the difference to asking the upstream as often. Needs
`apt-get install haproxy wrk`; nothing else in the project does.
"""

import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from loadtests.measurement.conditions import conditions
from loadtests.measurement.haproxy_peer import (
    MAP_LINES,
    haproxy_config,
    hs256,
    need_programs,
    program_version,
    upstream_config,
    users_map,
    wrk_script,
)
from loadtests.measurement.own_processes import await_port, cpu_s, free_port, running_haproxy, running_router
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result

USERS: Final = 1_000
"""Tokens to verify: more than a cache of one would serve."""
CONNECTIONS: Final = 64
"""The upstream is busy, and no peer's backlog grows."""
UNEVEN_MAX: Final = 1.15
"""The most that one peer may be asked more often than another at half load."""
_PROXY_CORE: Final = 0
"""Whoever is measured has this processor alone,"""
_LOAD_CORE: Final = 1
"""load and upstream share the other one."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that forwards, or the upstream itself."""

    name: str
    port: int
    pid: int
    tokens: list[str]


def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Rounds at full speed, then as many at half of what the router sustained; the document and its file.

    The peers' order turns with each round, so none always follows the same other one; the first round warms up. At half
    load every peer gets the same pause between requests, which the router's own median decides. Raises
    MeasurementRefused if they were asked unevenly all the same, or a program is missing.
    """
    need_programs("haproxy", "wrk", "taskset")
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
        pause_ms = pause_for_half(median(each["per_s"] for each in measured["router"]))
        at_half: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
        for number in range(rounds):
            for peer in peers if number % 2 else reversed(peers):
                at_half[peer.name].append(_round(peer, folder, seconds, pause_ms=pause_ms))
            say(f"round {number + 1} of {rounds} at half of the router's load")
        _refuse_uneven(at_half)
    document = {
        "benchmark": "router_vs_haproxy",
        "what": "an order-sized POST through our router and through HAProxy with JWT check and map lookup",
        "conditions": where | {"haproxy": program_version("haproxy", "-v"), "wrk": program_version("wrk", "-v")},
        "settings": {
            "connections": CONNECTIONS, "seconds": seconds, "rounds": rounds, "users": USERS, "map_lines": MAP_LINES,
            "proxy_core": _PROXY_CORE, "load_core": _LOAD_CORE, "pause_ms_at_half": pause_ms,
        },
        "median": summary(measured, at_half),
        "rounds": measured,
        "rounds_at_half": at_half,
    }  # fmt: skip
    return document, write_result("router_vs_haproxy", document)


def pause_for_half(per_s: float) -> int:
    """Milliseconds that each connection must rest for half of that rate; an answer takes about one of them."""
    return max(1, round(CONNECTIONS * 1000 / (per_s / 2)) - 1)


def _refuse_uneven(at_half: dict[str, list[dict[str, float]]]) -> None:
    """An answer that comes later is followed by fewer requests; beyond this share the peers had different loads."""
    rates = {name: median(each["per_s"] for each in rounds) for name, rounds in at_half.items()}
    if max(rates.values()) > UNEVEN_MAX * min(rates.values()):
        raise MeasurementRefused(f"the peers were not asked equally often at half load: {rates}")


def summary(measured: dict[str, list[dict[str, float]]], at_half: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds, and the ratios the issue asks for; ratios are taken within a round."""
    found: dict[str, Any] = {}
    for name, rounds in measured.items():
        found[name] = {figure: round(median(each[figure] for each in rounds), 2) for figure in rounds[0]}
        for figure in ("per_s", "core_share", "p50_ms", "p99_ms"):
            found[name][f"half_{figure}"] = round(median(each[figure] for each in at_half[name]), 3)
    pairs = list(zip(measured["router"], measured["haproxy"], strict=True))
    for figure in ("per_core_second", "per_s"):
        found[f"router_of_haproxy_{figure}"] = round(median(a[figure] / b[figure] for a, b in pairs), 3)
    for name in ("router", "haproxy"):
        for figure in ("p50_ms", "p99_ms"):
            added = [a[figure] - b[figure] for a, b in zip(at_half[name], at_half["upstream"], strict=True)]
            found[f"{name}_added_{figure}"] = round(median(added), 3)
    return found


def _start_peers(stack: ExitStack, folder: Path) -> list[Peer]:
    users = [uuid4() for _ in range(USERS)]
    upstream_port, haproxy_port, router_port = free_port(), free_port(), free_port()
    upstream = stack.enter_context(
        running_haproxy(folder / "upstream.cfg", upstream_config(upstream_port), core=_LOAD_CORE)
    )
    (folder / "users.map").write_text(users_map(users))
    config = haproxy_config(haproxy_port, upstream_port, folder / "users.map")
    haproxy = stack.enter_context(running_haproxy(folder / "haproxy.cfg", config, core=_PROXY_CORE))
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


def _round(peer: Peer, folder: Path, seconds: int, *, pause_ms: int = 0) -> dict[str, float]:
    """As fast as it goes, or with pauses. CPU time is that of the peer alone."""
    script = folder / f"{peer.name}.lua"
    script.write_text(wrk_script(peer.tokens, pause_ms=pause_ms))
    before, began = cpu_s(peer.pid), time.monotonic()
    done = subprocess.run(
        ["taskset", "-c", str(_LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s",
         str(script), f"http://127.0.0.1:{peer.port}"],
        capture_output=True, text=True, timeout=seconds + 60, check=True,
    )  # fmt: skip
    elapsed_s, used_s = time.monotonic() - began, cpu_s(peer.pid) - before
    counts = re.search(r"DONE (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if counts is None:
        raise MeasurementRefused(f"wrk said nothing useful: {done.stdout[-500:]}{done.stderr[-500:]}")
    requests, wrong, broken, p50_us, p99_us = map(int, counts.groups())
    if wrong or broken or not requests:
        raise MeasurementRefused(f"{peer.name}: {wrong} of {requests} answers were wrong, {broken} connections broke")
    return {
        "requests": requests,
        "per_s": round(requests / elapsed_s, 1),
        "cpu_us_per_request": round(used_s / requests * 1e6, 2),
        "per_core_second": round(requests / used_s, 1) if used_s else 0.0,
        "core_share": round(used_s / elapsed_s, 3),
        "p50_ms": p50_us / 1000,
        "p99_ms": p99_us / 1000,
    }
