"""The peer is found where the stack's database is, and calls what the cell calls."""

import uuid
from pathlib import Path

import pytest

from infra.security.keys import new_key_ring
from infra.security.route_token import RouteTokenSigner
from loadtests.client import Answer, Customer, RouterClient
from loadtests.measurement.pgbench import CLIENTS, PgbenchFailed, database_of, order_script, path_option, place_script
from loadtests.measurement.stack_customers import Bench

PGPASS = Path("/state/secrets/pgpass")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://cell_auditor:secret@127.0.0.1:5433/cell",
        "host=127.0.0.1 port=5433 dbname=cell user=cell_auditor password=secret",
    ],
)
def test_the_auditors_address_is_read_in_both_spellings(dsn: str) -> None:
    database = database_of(dsn, PGPASS, "code_0123456789ab")
    assert (database.host, database.port, database.user) == ("127.0.0.1", "5433", "cell_service")
    assert path_option(database.code) == "-c search_path=code_0123456789ab,pg_temp"


def bench_of(count: int) -> Bench:
    router = RouterClient("http://router")
    customers = []
    for number in range(count):
        body = {"user_id": str(uuid.UUID(int=number)), "access_token": "t"}
        customers.append(Customer(router, "a", "b", Answer(201, body, "cell-1", None, False, None, 0.0, 1)))
    return Bench(
        "cell-1",
        "http://router",
        "http://cell",
        tuple(customers),
        RouteTokenSigner(new_key_ring()),
        1,
        "KO",
        63_610_000,
    )


def test_each_client_has_customers_of_its_own() -> None:
    script = order_script(bench_of(CLIENTS * 2))
    assert "\\set first 1 * (random(0, 1) + :client_id * 2) + 1" in script
    assert "place_orders_v1(" in script
    assert script.count("\n") > 3
    assert script.rstrip().endswith(";")


def test_too_few_customers_would_make_clients_wait_for_each_other() -> None:
    with pytest.raises(PgbenchFailed, match="too few"):
        order_script(bench_of(CLIENTS - 1))


def test_a_batch_is_as_many_neighbours_and_must_be_answered_as_wanted() -> None:
    users = [uuid.UUID(int=number) for number in range(256)]
    script = place_script(users, clients=2, batch=64, symbol="KO", limit_px=1, replays=True)
    assert "\\set first 64 * (random(0, 1) + :client_id * 2) + 1" in script
    assert "\\set last :first + 63" in script
    assert "1 / (count(*) filter (where outcome = 'accepted' and replayed) = 64)::integer" in script
