"""The benchmark beside HAProxy: what it sends, and how ratios are made. The run itself needs haproxy and wrk."""

import uuid
from pathlib import Path

import jwt

from loadtests.benchmarks.router_vs_haproxy import pause_for_half, summary
from loadtests.measurement.haproxy_peer import haproxy_config, hs256, wrk_script


def test_haproxys_token_is_a_jwt_that_its_configuration_checks() -> None:
    user = uuid.uuid4()
    token = hs256(user, 4_000_000_000)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], jwt.get_unverified_header(token)["alg"]) == (str(user), "HS256")
    config = haproxy_config(1, 2, Path("users.map"))
    assert 'jwt_verify(txn.alg,"' in config
    assert "map_str(users.map)" in config
    assert "$.exp" in config


def test_ratios_are_taken_within_a_round_and_added_latency_against_the_upstream() -> None:
    def rounds(*per_core: float) -> list[dict[str, float]]:
        return [{"per_core_second": rate, "per_s": rate / 2} for rate in per_core]

    def at_half(*p50_ms: float) -> list[dict[str, float]]:
        return [{"per_s": 10, "core_share": 0.5, "p50_ms": each, "p99_ms": each * 2} for each in p50_ms]

    found = summary(
        {"upstream": rounds(300, 300, 300), "haproxy": rounds(100, 200, 50), "router": rounds(50, 100, 40)},
        {"upstream": at_half(1, 1, 1), "haproxy": at_half(2, 3, 2), "router": at_half(3, 2, 4)},
    )
    assert found["router_of_haproxy_per_core_second"] == 0.5
    assert (found["router_added_p50_ms"], found["router_added_p99_ms"]) == (2, 4)
    assert found["haproxy"]["per_core_second"] == 100


def test_connections_rest_between_requests_only_when_they_are_told_to() -> None:
    assert "delay" not in wrk_script(["t"])
    assert "function delay() return math.random(0, 8) end" in wrk_script(["t"], pause_ms=4)
    assert [pause_for_half(per_s) for per_s in (26_000, 12_800, 1_000_000)] == [4, 9, 1]
