"""A context elsewhere speaks to the control service over TLS, and to nobody whose certificate another authority made.

The issuer is not there: what the service says of a token that it need not look up is what only the service says.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner

from shardctl.cli import make_app
from shardctl.contexts import Elsewhere
from shardctl.errors import NotAllowed, NotReachable
from shardctl.logins import Login, keep_login, login_path
from shardctl.service.app import ControlService
from tests.support.certificates import HERE, Authority, make_authority
from tests.support.control_service import control_service, folder_stack
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port

pytestmark = pytest.mark.anyio
TOKEN = "no-token-of-anybody"
ISSUER = "https://id.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path, "ours")


@pytest.fixture
def subject() -> x509.GeneralName:
    return HERE


@pytest.fixture
async def service(
    control_database: TestDatabase, tmp_path: Path, authority: Authority, subject: x509.GeneralName
) -> AsyncIterator[ControlService]:
    certificate, key = authority.issue(subject)
    oidc: dict[str, Any] = {
        "issuer": ISSUER, "audience": "brokerage", "roles": {"ops": "operator"}, "listen": {"port": free_port()},
        "tls_cert": certificate, "tls_key": key,
    }  # fmt: skip
    async with control_service(control_database.leader_dsn, folder_stack(tmp_path), {}, oidc=oidc) as running:
        yield running


@pytest.fixture
def url(service: ControlService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> str:
    """Of a context `far`, where somebody is logged in."""
    assert service.settings.oidc is not None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    url = f"https://127.0.0.1:{service.settings.oidc.listen.port}"
    far = Elsewhere(url, ISSUER, "shardctl", "brokerage")
    options = {"--url": far.url, "--issuer": far.issuer, "--client-id": far.client_id, "--audience": far.audience}
    added = CliRunner().invoke(
        make_app(), ["context", "add", "far", *(word for pair in options.items() for word in pair)]
    )
    assert added.exception is None, added.output
    keep_login(login_path(os.environ, far), Login(TOKEN, 0.0))
    return url


async def whoami() -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, make_app(), ["--context", "far", "whoami", "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


async def test_the_service_is_asked_over_tls(url: str, service: ControlService) -> None:
    with pytest.raises(NotAllowed, match="token"):
        await whoami()
    assert b"shardctl_unauthenticated_total 1.0" in service.metrics.render(), "it was the service that refused"


async def test_what_another_authority_certified_is_not_sent_a_token(
    url: str, service: ControlService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority(tmp_path, "another").file))
    with pytest.raises(NotReachable, match=r"certificate of https://127\.0\.0\.1.*is not trusted.*SSL_CERT_FILE"):
        await whoami()
    assert b"shardctl_unauthenticated_total 0.0" in service.metrics.render()


@pytest.mark.parametrize("subject", [x509.DNSName("elsewhere.example")])
async def test_a_certificate_for_another_name_is_not_sent_a_token(url: str, service: ControlService) -> None:
    with pytest.raises(NotReachable, match="is not trusted"):
        await whoami()
    assert b"shardctl_unauthenticated_total 0.0" in service.metrics.render()


async def test_who_does_not_speak_tls_gets_nothing(url: str) -> None:
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 30)
    writer.close()
