"""The control service signs operators' tokens: in the name of who asks, no more than their role, with the reason. While
it is dead, the machine's owner signs with the key file, and is told so.
"""

import time
from pathlib import Path
from typing import Any, Final
from unittest.mock import ANY

import pytest

from cell.app import create_app
from cell.settings import CellSettings
from infra.backends.local.backend import LocalBackend
from infra.runtime.settings import PostgresSettings
from infra.security.keys import OPERATOR_VERIFY_FILE, KeyFileInvalid, generate_key_files, load_verify_ring
from infra.security.operator_token import OperatorClaims, verify_operator_token
from infra.security.roles import Role
from shardctl.operator_tokens import LOOK, PATH, Purpose, as_token, token_of_person
from shardctl.service.tokens import TokensController
from shardctl.token_signing import token_of_step
from tests.support.asgi import ask_asgi
from tests.support.control_service import control_service, own_name
from tests.support.databases import TestDatabase
from tests.support.forged_audit import as_root
from tests.support.operator_tokens import operator_token
from tests.support.who_says import who_says

pytestmark = pytest.mark.anyio

CORDON: Final = Purpose("set_profile", "some user", Role.OPERATOR, "passed the test")
REQUEST: Final = "cell-1 PUT /operator/v1/users/some/profile"
LOOKING: Final = "cell-1 GET /operator/v1/summary"
UNREADABLE: Final = ("", " ", "\u00a0\u3000", "\u202e", "a\u202eb", "a\nb", "a\u200bb", "\u0301", "\u007f", "x" * 501)


def read(backend: LocalBackend, token: str) -> OperatorClaims:
    ring = load_verify_ring(backend.keys_folder / OPERATOR_VERIFY_FILE)
    return verify_operator_token(ring, token, int(time.time()))


async def test_a_token_says_who_is_at_the_socket_and_why(
    control_database: TestDatabase, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHARDCTL_ACTOR", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "somebody else")
    async with control_service(control_database.leader_dsn, backend, {}):
        ask = token_of_person(backend, CORDON)
        looking = await ask(LOOKING)
        assert await ask("cell-2 GET /operator/v1/quarantine") == looking, "one token for some minutes of a walk"
        claims, again = read(backend, await ask(REQUEST)), read(backend, await ask(REQUEST.replace("some", "other")))
        looks = read(backend, looking)
        assert read(backend, await as_token(backend, LOOK)(REQUEST)).request is None
        rows = as_root(control_database, "select detail from control.audit where outcome = 'done' order by number")
    assert rows == [(f"token {each.token_id}",) for each in (claims, again)], "what the cell logs with the act"
    assert (claims.subject, claims.role, claims.why, claims.fence) == (own_name(), "operator", "passed the test", None)
    assert (claims.request, again.request) == (REQUEST, "cell-1 PUT /operator/v1/users/other/profile")
    assert (looks.role, looks.why, looks.request) == ("viewer", None, None)


async def test_while_the_service_is_dead_the_machines_owner_signs_and_is_told(
    backend: LocalBackend, capfd: pytest.CaptureFixture[str]
) -> None:
    claims = read(backend, await token_of_person(backend, CORDON)(REQUEST))
    assert claims.request == REQUEST
    assert (claims.subject, claims.role, claims.why) == (own_name(), "operator", "passed the test")
    said = capfd.readouterr().err
    assert "the control service does not answer" in said
    assert f"set_profile some user is signed with this machine's key, as {own_name()}" in said
    for path in backend.keys_folder.glob("operator-*"):
        path.unlink()
    with pytest.raises(KeyFileInvalid):
        await token_of_person(backend, CORDON)(REQUEST)


async def test_a_step_carries_its_lease_and_who_asked_for_the_operation(backend: LocalBackend) -> None:
    token = token_of_step(backend, subject="oidc:ann", reason="x" * 600, fence=9)
    claims = read(backend, await token(REQUEST))
    assert claims.request == REQUEST
    assert (claims.subject, claims.role, claims.fence, claims.why) == ("oidc:ann", "operator", 9, "x" * 500)


async def test_nobody_gets_more_than_their_role_or_a_lease(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    async with control_service(control_database.leader_dsn, backend, {}) as service:
        app = service.create_app(who_says)

        async def ask(mine: Role, /, **body: Any) -> tuple[int, Any]:
            wanted = {"act": "look", "target": "cells", "role": "viewer", **body}
            status, _, said = await ask_asgi(app, "POST", PATH, wanted, headers={"X-Role": mine})
            return status, said

        for mine in Role:
            for wanted in Role:
                status, said = await ask(mine, role=wanted, reason="because", request=REQUEST)
                assert status == (200 if mine.may(wanted) and mine.may(Role.OPERATOR) else 403)
                if status == 200:
                    claims = read(backend, said["token"])
                    assert (claims.subject, claims.role, claims.why) == (f"some {mine}", wanted, "because")
        for text in UNREADABLE:
            for field in ("reason", "act", "target"):
                status, said = await ask(Role.ADMIN, **{field: text})
                assert (status, said["field"]) == (422, field), repr(text)
        assert await ask(Role.ADMIN, role="operator", reason="because", request=None) == (422, ANY)
        for field, value in (
            ("request", "everything"),
            ("request", "cell-1 POST x"),
            ("fence", 7),
            ("sub", "ann"),
            ("role", "root"),
            ("role", None),
        ):
            assert (await ask(Role.ADMIN, **{field: value}))[0] == 422
    assert TokensController.path == PATH


async def test_a_token_serves_the_request_that_it_was_made_for_and_no_other(
    cell_database: TestDatabase, tmp_path: Path
) -> None:
    """Not at another cell, not for another user, not by another method: whoever is shown a step's token can do that
    step again, and nothing else. A token that looks changes nothing, whatever its role."""
    generate_key_files(tmp_path)
    postgres = PostgresSettings(dsn=cell_database.service_dsn)
    app = create_app(CellSettings(name="cell-1", postgres=postgres, keys_dir=tmp_path))
    archive, body = "/operator/v1/archive", {"older_than_days": 30}
    async with app.running():

        async def ask(method: str, path: str, request: str | None, fence: int | None = None) -> tuple[int, Any]:
            token = operator_token(tmp_path, "admin", request=request, fence=fence)
            headers = {"Authorization": f"Bearer {token}"}
            status, _, said = await ask_asgi(app.operator, method, path, body, headers=headers)
            return status, said

        for fence in (None, 7):
            assert (await ask("POST", archive, f"cell-1 POST {archive}", fence))[0] == 200
            for other in (
                f"cell-2 POST {archive}",
                f"exchange POST {archive}",
                f"cell-1 PUT {archive}",
                "cell-1 POST /operator/v1/reconcile",
                f"cell-1 POST {archive}/x",
            ):
                status, said = await ask("POST", archive, other, fence)
                assert (status, said["code"]) == (403, "FORBIDDEN")
                assert said["detail"] == f"the token is for {other}, and this is cell-1 POST {archive}"
            status, said = await ask("POST", archive, None, fence)
            assert (status, said["detail"]) == (
                403, f"needs a token for cell-1 POST {archive}, and this one is for looking",
            )  # fmt: skip
        assert (await ask("GET", "/operator/v1/summary", None))[0] == 200
        assert (await ask("GET", "/operator/v1/summary", "cell-2 GET /operator/v1/summary"))[0] == 403
