"""Users stick to a server of their cell; a server that comes or goes moves its own share of them and nobody else."""

import uuid
from collections import Counter

from infra.topology.identifiers import CellId
from router.admission import NO_CAP
from router.destination import CellDestination, ServiceDestination, ServiceName, label_of
from router.fleet import Fleet, Upstream
from router.rendezvous import seed_of, weigh
from router.settings import UpstreamSettings
from tests.support.routers import map_of

URLS = tuple(f"http://10.0.0.{n}:8000" for n in range(1, 5))
USERS = [uuid.uuid5(uuid.NAMESPACE_OID, str(n)).int for n in range(4_000)]
SEED, WEIGHT = 0x466CF36C0B783AF5, 0x424BAB09DE31CD95


def first_choice(user: int, urls: tuple[str, ...]) -> str:
    return max(urls, key=lambda url: weigh(user, seed_of(url)))


def test_every_process_computes_the_same_weight() -> None:
    """Written down, because routers of two releases serve side by side."""
    assert seed_of(URLS[0]) == SEED
    assert weigh(USERS[0], SEED) == WEIGHT


def test_servers_share_the_users_evenly_and_one_that_goes_leaves_its_own_to_all_others() -> None:
    before = {user: first_choice(user, URLS) for user in USERS}
    assert all(850 < users < 1_150 for users in Counter(before.values()).values())
    after = {user: first_choice(user, URLS[1:]) for user in USERS}
    moved = [user for user in USERS if before[user] != after[user]]
    assert {before[user] for user in moved} == {URLS[0]}
    assert all(250 < users < 420 for users in Counter(after[user] for user in moved).values())


def test_a_user_goes_to_the_next_server_while_their_own_fails_and_comes_back() -> None:
    upstream = Upstream(CellDestination(CellId("cell-1")), URLS, UpstreamSettings(), NO_CAP)
    user = USERS[0]
    own, following = upstream._in_order(user)[:2]
    assert upstream.pick_server(user, 0.0) is own is upstream._heaviest_healthy(user)
    own.breaker.fail(0.0)
    assert upstream.pick_server(user, 0.0) is following is upstream._heaviest_healthy(user)
    own.breaker.succeed()
    assert upstream.pick_server(user, 0.0) is own


def test_a_service_beside_the_cells_is_a_destination_that_no_map_takes_away() -> None:
    fleet = Fleet(UpstreamSettings())
    service = fleet.add_service(ServiceName("quotes"), URLS[:1])
    fleet.follow(map_of({"quotes": URLS[1:2]}))
    cell = fleet.cell(CellId("quotes"))
    assert [server.url for server in service.servers] == [URLS[0]]
    assert fleet.cells() == [cell]
    assert [one.label for one in fleet.upstreams()] == ["service:quotes", "quotes"]
    assert label_of(ServiceDestination(ServiceName("quotes"))) != label_of(CellDestination(CellId("quotes")))
