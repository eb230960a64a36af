"""The benchmark beside HAProxy: what it sends, and how ratios are made. The run itself needs haproxy and wrk."""

import uuid
from pathlib import Path

import jwt

from loadtests.benchmarks.haproxy_peer import haproxy_config, hs256, request_bytes
from loadtests.benchmarks.router_vs_haproxy import summary


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

    def paced(*p50_ms: float) -> list[dict[str, float]]:
        return [{"p50_ms": each, "p99_ms": each * 2} for each in p50_ms]

    found = summary(
        {"upstream": rounds(300, 300, 300), "haproxy": rounds(100, 200, 50), "router": rounds(50, 100, 40)},
        {"upstream": paced(1, 1, 1), "haproxy": paced(2, 3, 2), "router": paced(3, 2, 4)},
    )
    assert found["router_of_haproxy_per_core_second"] == 0.5
    assert (found["router_added_p50_ms"], found["router_added_p99_ms"]) == (2, 4)
    assert found["haproxy"]["per_core_second"] == 100


def test_a_request_is_whole() -> None:
    head, _, body = request_bytes("t", "k").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
