"""Persons by the tokens of a real OpenID provider: who is let in as whom, and every token that is not taken."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.backends.local.backend import LocalBackend
from infra.runtime.http_client import HttpClient
from infra.security.keys import OPERATOR_VERIFY_FILE, load_verify_ring
from infra.security.operator_token import verify_operator_token
from shardctl.service import issuer_keys, persons_port
from shardctl.service.app import ControlService
from tests.support.control_service import AsyncClient, control_service, folder_stack
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.free_port import free_port
from tests.support.moved_metrics import assert_moved
from tests.support.oidc_issuer import AUDIENCE, Issuer, oidc_issuer, private_keys

pytestmark = pytest.mark.anyio

PEOPLE: Final = {"vera": ["look"], "otto": ["look", "run", "nothing of ours"], "stray": ["nothing of ours"], "bare": []}
ROLES: Final = {"look": "viewer", "run": "operator"}
ORDER: Final = {
    "act": "drain", "target": "cell-1", "role": "operator", "reason": "a test",
    "request": "cell-1 POST /operator/v1/archive",
}  # fmt: skip


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with oidc_issuer(PEOPLE) as running:
        yield running


@dataclass
class Port:
    """The service's port for persons elsewhere."""

    service: ControlService
    backend: LocalBackend
    http: HttpClient
    url: str

    async def ask(self, token: str | None, method: str = "GET", path: str = "/v1/operations", body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        raw = None if body is None else json.dumps(body).encode()
        answer = await self.http.request(method, self.url + path, timeout_s=20, headers=headers, body=raw)
        return answer.status, json.loads(answer.body)


@pytest.fixture
async def port(control_database: TestDatabase, tmp_path: Path, issuer: Issuer) -> AsyncIterator[Port]:
    listen = free_port()
    oidc = {"issuer": issuer.url, "audience": AUDIENCE, "roles": ROLES, "listen": {"port": listen}}
    backend = folder_stack(tmp_path)
    async with (
        control_service(control_database.leader_dsn, backend, {}, oidc=oidc) as service,
        HttpClient() as http,
    ):
        yield Port(service, backend, http, f"http://127.0.0.1:{listen}")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_person_has_the_highest_role_that_their_claims_give(port: Port, issuer: Issuer, algorithm: str) -> None:
    otto = await asyncio.to_thread(issuer.token, "otto", algorithm)
    status, said = await port.ask(otto, "POST", "/v1/operator-tokens", ORDER)
    assert status == 200, said
    ring = load_verify_ring(port.backend.keys_folder / OPERATOR_VERIFY_FILE)
    claims = verify_operator_token(ring, said["token"], int(time.time()))
    assert (claims.subject, claims.role, claims.why) == ("oidc:otto", "operator", "a test")
    vera = await asyncio.to_thread(issuer.token, "vera", algorithm)
    assert (await port.ask(vera))[0] == 200
    status, said = await port.ask(vera, "POST", "/v1/operator-tokens", ORDER)
    assert (status, said["code"], said["exit_code"]) == (403, "FORBIDDEN", 3)
    assert said["detail"] == "this needs the role operator, and oidc:vera has viewer"
    for name in ("stray", "bare"):
        status, said = await port.ask(await asyncio.to_thread(issuer.token, name, algorithm))
        assert (status, said["detail"]) == (
            403, f"oidc:{name} has no role here: nothing in the claim roles gives one",
        )  # fmt: skip


async def test_every_other_token_is_refused(port: Port, issuer: Issuer) -> None:
    now_s = int(time.time())
    good = {
        "iss": issuer.url, "aud": AUDIENCE, "sub": "otto", "roles": ["run"], "iat": now_s - 5, "exp": now_s + 300,
    }  # fmt: skip
    assert (await port.ask(issuer.sign(good)))[0] == 200
    assert (await port.ask(issuer.sign({**good, "exp": now_s - 20})))[0] == 200, "within the leeway"
    real = await asyncio.to_thread(issuer.token, "otto")
    head, body, signature = real.split(".")
    claims = jwt.decode(real, options={"verify_signature": False})
    more = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "root"}).encode()).rstrip(b"=").decode()
    foreign = Issuer(issuer.port, private_keys("first"), {})
    elsewhere = Issuer(free_port(), private_keys("other"), {})
    [rsa] = [key for key in issuer.keys["keys"] if key["alg"] == "RS256"]
    pem = jwt.PyJWK(rsa, algorithm="RS256").key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    kid = {"kid": "first-RS256"}
    left, middle, _ = jwt.encode(good, b"x" * 32, algorithm="HS256", headers=kid).split(".")
    mac = base64.urlsafe_b64encode(hmac.digest(pem, f"{left}.{middle}".encode(), hashlib.sha256)).rstrip(b"=").decode()
    refused = {
        "no token": None,
        "noise": "noise",
        "two parts": f"{head}.{body}",
        "expired": issuer.sign({**good, "exp": now_s - 40}),
        "not yet valid": issuer.sign({**good, "nbf": now_s + 60}),
        "issued in the future": issuer.sign({**good, "iat": now_s + 60}),
        "lives for years": issuer.sign({**good, "exp": now_s + 400 * 86_400}),
        "another audience": await asyncio.to_thread(issuer.token, "otto", elsewhere=True),
        "another audience of two": issuer.sign({**good, "aud": ["a", "b"]}),
        "no audience": issuer.sign({name: value for name, value in good.items() if name != "aud"}),
        "another issuer's word under our issuer's key": issuer.sign({**good, "iss": elsewhere.url}),
        "a foreign issuer": elsewhere.sign({**good, "iss": elsewhere.url}),
        "a foreign issuer under our issuer's name": elsewhere.sign(good),
        "a foreign key under a known name": foreign.sign(good),
        "altered": f"{head}.{more}.{signature}",
        "unsigned": jwt.encode(good, "", algorithm="none", headers=kid),
        "signed with the public key": f"{left}.{middle}.{mac}",
        "the key of another algorithm": issuer.sign(good, "ES256", kid="first-RS256"),
        "no key named": jwt.encode(good, jwt.PyJWK(rsa, algorithm="RS256").key, algorithm="RS256"),
        "no subject": issuer.sign({name: value for name, value in good.items() if name != "sub"}),
        "a subject that cannot be read": issuer.sign({**good, "sub": "ot\u202eto"}),
        "no end": issuer.sign({name: value for name, value in good.items() if name != "exp"}),
        "an end that is none": issuer.sign({**good, "exp": True}),
        "too long": issuer.sign({**good, "x": "x" * 20_000}),
    }
    wrong = {}
    for name, token in refused.items():
        status, said = await port.ask(token)
        if (status, said.get("exit_code")) != (401, 3):
            wrong[name] = (status, said)
    assert not wrong
    assert (await port.ask(refused["expired"]))[1]["code"] == "TOKEN_EXPIRED"
    assert_moved(port.service.metrics.render(), "shardctl_oidc_refused_total")


async def test_a_rotated_key_counts_no_longer_and_the_new_one_at_once(
    port: Port, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await asyncio.to_thread(issuer.token, "vera")
    assert (await port.ask(before))[0] == 200
    former = issuer.keys
    issuer.stop()
    issuer.keys = private_keys("second")
    await asyncio.to_thread(issuer.start)
    try:
        monkeypatch.setattr(issuer_keys, "AGAIN_S", 0.0)  # half a minute has gone by
        after = await asyncio.to_thread(issuer.token, "vera")
        assert (await port.ask(after))[0] == 200
        assert (await port.ask(before))[0] == 401
    finally:
        issuer.stop()
        issuer.keys = former
        await asyncio.to_thread(issuer.start)


async def test_while_the_issuer_is_down_the_socket_is_the_way_in_and_that_shows(
    port: Port, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await asyncio.to_thread(issuer.token, "vera")
    assert (await port.ask(token))[0] == 200
    issuer.stop()
    try:
        monkeypatch.setattr(issuer_keys, "AGAIN_S", 0.0)
        monkeypatch.setattr(issuer_keys, "KEPT_S", 0.0)
        assert (await port.ask(token))[0] == 200, "its keys go on counting for a while"
        monkeypatch.setattr(issuer_keys, "STALE_MAX_S", 0.0)  # an hour later
        status, said = await port.ask(token)
        assert (status, said["exit_code"], issuer.url in said["detail"]) == (503, 3, True)
        assert_moved(port.service.metrics.render(), "shardctl_oidc_key_failures_total")
        client = AsyncClient(port.service)
        assert (await client.get("/v1/operations"))["items"] == []
        assert b"shardctl_break_glass_total 0.0" in port.service.metrics.render()
        assert (await client.post("/v1/operator-tokens", ORDER))["role"] == "operator"
        assert_moved(port.service.metrics.render(), "shardctl_break_glass_total")
    finally:
        await asyncio.to_thread(issuer.start)
    monkeypatch.setattr(issuer_keys, "STALE_MAX_S", 3_600.0)
    assert (await port.ask(token))[0] == 200


async def test_who_is_not_known_cannot_fill_the_memory_or_hold_a_connection(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, number = port.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(number))
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * (persons_port.HEAD_BYTES_MAX + 1))
    assert (await reader.read()).startswith(b"HTTP/1.1 400 "), "and the connection is closed"
    writer.close()
    monkeypatch.setattr(persons_port, "IDLE_S", 0.05)
    reader, writer = await asyncio.open_connection(host, int(number))
    writer.write(b"GET / HT")
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()


@pytest.mark.parametrize("trouble", ["certificate", "port"])
async def test_a_port_that_cannot_be_opened_takes_nothing_else_away(
    control_database: TestDatabase, tmp_path: Path, issuer: Issuer, trouble: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        oidc: dict[str, Any] = {"issuer": issuer.url, "audience": AUDIENCE, "roles": ROLES}
        if trouble == "port":
            oidc["listen"] = {"port": taken.getsockname()[1]}
        else:
            oidc |= {"listen": {"port": free_port()}, "tls_cert": tmp_path / "none.pem", "tls_key": tmp_path / "none"}
        backend = folder_stack(tmp_path)
        async with control_service(control_database.leader_dsn, backend, {}, oidc=oidc) as service:
            assert (await AsyncClient(service).get("/v1/operations"))["items"] == []

            async def is_told() -> bool:
                return b"shardctl_oidc_port_closed 1.0" in service.metrics.render()

            await eventually(is_told)
            assert_moved(service.metrics.render(), "shardctl_oidc_port_closed")
