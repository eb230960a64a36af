"""Several routers in one stack, as an operator sees them."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, fresh_stack


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("routers", "--cells", "1", "--routers", "2") as running:
        yield running


def test_a_rolling_restart_renews_every_router_in_place(own: Stack) -> None:
    before = own.must("routers", "list", "--json").json()
    assert [row["state"] for row in before] == ["ready", "ready"]
    assert {row["map_epoch"] for row in before} == {before[0]["map_epoch"]}
    pids = {row["name"]: row["pid"] for row in own.status()["processes"]}
    own.must("routers", "restart")
    after = own.must("routers", "list", "--json").json()
    assert [row["state"] for row in after] == ["ready", "ready"]
    for old, new in zip(before, after, strict=True):
        assert (new["router"], new["url"]) == (old["router"], old["url"])
        assert new["started_at"] > old["started_at"]
    assert {row["name"]: row["pid"] for row in own.status()["processes"]} == pids
    assert own.run("routers", "restart", "router-9").exit_code != 0
    urls = own.env()
    assert urls["ROUTER_1_URL"] != urls["ROUTER_2_URL"]
