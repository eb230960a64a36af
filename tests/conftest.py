"""Fixtures for all tests: the event loop's backend, fresh databases, a running stack."""

import random
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from xdist.workermanage import WorkerController

from tests.support.backing import postgres_server
from tests.support.databases import Template, TestDatabase, build_cell_template, build_control_template
from tests.support.exchange_process import ExchangeProcess
from tests.support.kafka_broker import KafkaBroker, run_kafka_broker
from tests.support.killable_postgres import KillablePostgres, PostgresServer, killable_postgres
from tests.support.memory import memory_folder
from tests.support.stack import Stack, session_stack
from tests.support.venue_books import WorkerProcess

# An example that takes long on a busy machine is no finding: nothing here is a timed test.
hypothesis.settings.register_profile(
    "patient", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


_SERVERS: Final = frozenset({"exchange", "kafka_broker", "mortal_postgres"})
"""Fixtures that start a server: a file with one of them takes up to a minute."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL for this session."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def cell_template(postgres: PostgresServer) -> Template:
    return build_cell_template(postgres)


@pytest.fixture(scope="session")
def control_template(postgres: PostgresServer) -> Template:
    return build_control_template(postgres)


@pytest.fixture
def cell_database(cell_template: Template) -> Iterator[TestDatabase]:
    """A cell's database as the migrations leave it, for one test."""
    with cell_template.clone() as database:
        yield database


@pytest.fixture
def control_database(control_template: Template) -> Iterator[TestDatabase]:
    """A control database as the migrations leave it, for one test."""
    with control_template.clone() as database:
        yield database


@pytest.fixture(scope="session")
def mortal_postgres() -> Iterator[KillablePostgres]:
    """A server that tests may kill, if they leave it running."""
    with killable_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="session")
def mortal_template(mortal_postgres: KillablePostgres) -> Template:
    return build_cell_template(mortal_postgres.server)


@pytest.fixture
def mortal_database(mortal_template: Template) -> Iterator[TestDatabase]:
    """A cell's database on the server that this test kills."""
    with mortal_template.clone() as database:
        yield database


@pytest.fixture(scope="session")
def mortal_control_template(mortal_postgres: KillablePostgres) -> Template:
    return build_control_template(mortal_postgres.server)


@pytest.fixture
def mortal_control_database(mortal_control_template: Template) -> Iterator[TestDatabase]:
    """A control database on the server that this test kills."""
    with mortal_control_template.clone() as database:
        yield database


@pytest.fixture
def exchange() -> Iterator[ExchangeProcess]:
    """The exchange as a process on data of this test."""
    with tempfile.TemporaryDirectory(prefix="cell-brokerage-exchange-", dir=memory_folder()) as folder:
        process = ExchangeProcess(Path(folder))
        try:
            yield process
        finally:
            process.stop(signal.SIGKILL)
            for link in process.links:
                link.close()


@pytest.fixture
def worker(cell_database: TestDatabase, exchange: ExchangeProcess) -> Iterator[WorkerProcess]:
    """A cell's worker as a process, not started yet."""
    process = WorkerProcess(cell_database, exchange)
    try:
        yield process
    finally:
        if process.process is not None:
            process.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker for the event plane. A test may kill it, and leaves it running."""
    with run_kafka_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running stack of two cells, shared by the session. Leave it as you found it."""
    with session_stack() as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order-seed", type=int, default=None, help="run the test files in the order of this seed")


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all workers (`-n`): they must agree on the order."""
    if hasattr(config, "workerinput"):
        config.option.order_seed = config.workerinput["order_seed"]
    elif config.option.order_seed is None:
        config.option.order_seed = random.SystemRandom().randrange(1_000_000)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["order_seed"] = node.config.option.order_seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"order of test files: --order-seed={config.option.order_seed}"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files in random order, so that no test lives on what another left behind.

    Alone (no `-n`), quick ones run first. With `-n 2 --dist loadgroup` files that say how many minutes they take are
    begun first, longest first; then the tests of the shared stack, which are one lane; then those of the broker,
    another one; then files that start servers, then all others, so that the last files are short and both workers end
    together. A file is never divided.
    """
    seed = config.option.order_seed
    is_in_lanes = hasattr(config, "workerinput")
    server_files = {item.path for item in items if _SERVERS & set(getattr(item, "fixturenames", ()))}
    broker_files = {item.path for item in items if _uses(item, "kafka_broker")}

    def place(item: pytest.Item) -> tuple[float, float]:
        rank = 2.0 if _uses_the_stack(item) else 1.5 if item.path in broker_files else float(item.path in server_files)
        rank += 2.0 * _minutes(item)
        return -rank if is_in_lanes else rank, _place(seed, str(item.path))

    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item, broker_files)))


def _group(item: pytest.Item, broker_files: set[Path]) -> str:
    """Who share a server that takes long to start stay in one worker."""
    if _uses_the_stack(item):
        return "stack"
    return "broker" if item.path in broker_files else item.path.name


def _uses_the_stack(item: pytest.Item) -> bool:
    return _uses(item, "stack")


def _uses(item: pytest.Item, fixture: str) -> bool:
    return fixture in getattr(item, "fixturenames", ())


def _minutes(item: pytest.Item) -> float:
    marker = item.get_closest_marker("minutes")
    return float(marker.args[0]) if marker else 0.0


def _place(seed: int, path: str) -> float:
    return random.Random(f"{seed}:{path}").random()
