"""A cell is restored to a moment while its customers traded on: what the books hold, who is fenced, what is named.

One stack of one cell. Customers act before a moment T, at random times around it, and after it; then the cell is put
back to T. About two minutes.
"""

import asyncio
import random
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.backends.local.archive import SEGMENT_BYTES
from loadtests.client import Customer, RouterClient
from tests.support.stack import Stack, fresh_stack

CELL = "cell-1"
SERVER = f"{CELL}-postgres"
ORDER = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1"}
_DEPOSIT_MICROS = 10_000_000_000

pytestmark = [pytest.mark.anyio, pytest.mark.minutes(4)]


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("restore", "--cells", "1") as running:
        running.must("backup", "create", "--all", "--reason", "drill")
        yield running


def now() -> datetime:
    return datetime.now(UTC)


def told(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def rows(stack: Stack, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(stack.env()["CELL_1_DSN"]) as reader:
        return reader.execute(query.encode()).fetchall()


async def sign_up(router: RouterClient) -> Customer:
    customer = await router.sign_up(f"{secrets.token_hex(6)}@customers.example", "correct horse battery")
    await customer.deposit(_DEPOSIT_MICROS)
    return customer


async def test_the_books_hold_what_was_committed_by_the_moment_and_others_knowledge_is_named(own: Stack) -> None:
    async with RouterClient(own.env()["ROUTER_URL"]) as router:
        quiet, trading, saving = await sign_up(router), await sign_up(router), await sign_up(router)
        early = await trading.place(ORDER)
        # Deposits at random moments; each is known to be before, after, or (its answer was under way) either.
        acknowledged: list[tuple[datetime, datetime, str]] = []
        for _ in range(12):
            began = now()
            answer = await trading.deposit(1_000_000)
            acknowledged.append((began, now(), str(answer.body["deposit_id"])))
            await asyncio.sleep(random.random() / 10)
        moment = acknowledged[random.randrange(3, 9)][1] + timedelta(microseconds=random.randrange(50_000))
        await asyncio.sleep(max(0.0, (moment - now()).total_seconds()))
        late = await trading.place(ORDER)
        await saving.deposit(7_000_000)
        newcomer = await sign_up(router)
        await asyncio.sleep(1.0)  # for the venue's fills of the late order: what is lost is then known to all

        done = own.run("backup", "restore", "--cell", CELL, "--to", told(moment), "--reason", "drill", "--yes")
        assert done.exit_code == 0, done.stderr
        assert "and fenced" in done.stdout

        deposits = {str(found) for (found,) in rows(own, "select deposit_id from brokerage.deposits")}
        for began, ended, deposit_id in acknowledged:
            if ended <= moment:
                assert deposit_id in deposits, "acknowledged by the moment, so it is there"
            elif began > moment:
                assert deposit_id not in deposits, "begun after the moment, so it is not"
        orders = {str(found) for (found,) in rows(own, "select order_id from brokerage.orders")}
        assert early.body["order_id"] in orders
        assert late.body["order_id"] not in orders
        users = {found for (found,) in rows(own, "select user_id from brokerage.users")}
        assert users == {quiet.user_id, trading.user_id, saving.user_id}

        refused = await quiet.call({503}, "POST", "/v1/deposits", body={"amount": "1"}, key=secrets.token_hex(8))
        assert refused.code == "CELL_FENCED"
        assert (await quiet.account())["user_id"] == str(quiet.user_id), "reads go on"
        assert own.must("cells", "check", CELL, "--json").json()["healthy"]

        fenced = own.run("cells", "unfence", CELL, "--reason", "drill")
        assert fenced.exit_code == 1
        assert "events" in fenced.stderr
        opened = own.must("cells", "unfence", CELL, "--reason", "drill", "--despite-findings", "--json").json()
        assert set(opened["halted"]) >= {str(trading.user_id), str(saving.user_id)}
        assert str(quiet.user_id) not in opened["halted"]
        assert str(newcomer.user_id) in opened["halted"], "known to Kafka alone"

        await quiet.deposit(1_000_000)
        halted = await trading.call({503}, "POST", "/v1/deposits", body={"amount": "1"}, key=secrets.token_hex(8))
        assert halted.code == "USER_HALTED"
        await release_who_lost_nothing_at_the_venue(own, trading, saving)


async def release_who_lost_nothing_at_the_venue(own: Stack, trading: Customer, saving: Customer) -> None:
    held = {row["user_id"]: row for row in own.must("cells", "restored-users", CELL, "--json").json()}
    assert held.keys() == {str(trading.user_id), str(saving.user_id)}
    assert held[str(saving.user_id)]["lost_events"] == 1, "the deposit of after the moment"
    assert held[str(trading.user_id)]["venue_differences"] == 1, "the order that only the venue knows"
    refused = own.run("cells", "release-users", CELL, "--all", "--reason", "drill")
    assert refused.exit_code == 1
    assert str(trading.user_id) in refused.stderr
    own.must("cells", "release-users", CELL, str(saving.user_id), "--reason", "the bank has it")
    await saving.deposit(1_000_000)
    assert own.must("cells", "check", CELL, "--json").json()["healthy"]
    left = own.must("cells", "restored-users", CELL, "--json").json()
    assert [row["user_id"] for row in left] == [str(trading.user_id)]
    lines = own.run("cells", "reconcile", CELL, "--json").json()
    assert str(saving.user_id) not in {row["user_id"] for row in lines["events"]["sample"]}


async def test_to_the_end_of_the_log_nothing_is_lost_and_nothing_is_found(own: Stack) -> None:
    own.must("backup", "create", "--cell", CELL)
    async with RouterClient(own.env()["ROUTER_URL"]) as router:
        customer = await sign_up(router)
        before = rows(own, "select user_id, write_seq, chain_head from brokerage.users order by user_id")
        rehearsed = own.must("backup", "rehearse", CELL, "--json").json()
        assert set(rehearsed["checks"].values()) == {0}
        restored = own.must(
            "backup", "restore", "--cell", CELL, "--to", "latest", "--reason", "drill", "--yes", "--json"
        )
        assert restored.json()["kept_aside"], "what was replaced is kept"
        after = rows(own, "select user_id, write_seq, chain_head from brokerage.users order by user_id")
        assert after == before
        own.run("cells", "unfence", CELL, "--reason", "drill", "--despite-findings")
        await customer.deposit(1_000_000)


def test_what_is_not_covered_is_refused_and_the_cell_runs_on(own: Stack) -> None:
    own.must("backup", "create", "--cell", CELL)
    for moment, words in (("2026-01-01T00:00:00Z", "is not covered. Covered is"), ("2999-01-01T00:00:00Z", "future")):
        done = own.run("backup", "restore", "--cell", CELL, "--to", moment, "--reason", "drill", "--yes")
        assert done.exit_code == 1
        assert words in done.stderr
    assert own.status()["state"] == "running"


def test_a_damaged_copy_or_log_is_refused_by_the_files_name(own: Stack) -> None:
    assert own.state_dir is not None
    folder = own.state_dir / own.name / "backups" / SERVER
    label = own.must("backup", "list", "--json").json()[-1]["label"]

    def refused() -> str:
        done = own.run("backup", "restore", "--cell", CELL, "--to", "latest", "--reason", "drill", "--yes")
        assert done.exit_code == 1
        return done.stderr

    damaged = next(path for path in (folder / label / "data" / "base").rglob("*") if path.stat().st_size > 100_000)
    original = damaged.read_bytes()
    damaged.write_bytes(bytes([original[0] ^ 1]) + original[1:])
    assert damaged.relative_to(folder / label / "data").as_posix() in refused()
    damaged.write_bytes(original)

    (row,) = [row for row in own.must("backup", "list", "--json").json() if row["label"] == label]
    high, low = row["wal"]["start"].split("/")
    start = (int(high, 16) << 32) + int(low, 16)
    archive = max((folder / "log").iterdir(), key=lambda path: path.stat().st_mtime)
    (segment,) = archive.glob(f"{row['wal']['timeline']:08X}*{start // SEGMENT_BYTES % 256:08X}*")
    kept, inside = segment.read_bytes(), start % SEGMENT_BYTES + 26  # in the first record's data
    segment.write_bytes(kept[:inside] + bytes([kept[inside] ^ 255]) + kept[inside + 1 :])
    assert segment.name in refused()
    segment.unlink()
    assert segment.name.removesuffix(".partial") in refused()
    segment.write_bytes(kept)
    assert own.status()["state"] == "running", "each refusal started the cell again"
