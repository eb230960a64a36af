"""Every answer of an operator port names its request, so that the log line of a failure can be found."""

import json
import logging
import time
from pathlib import Path

import pytest
from litestar import get, post

from infra.runtime.http_client import HttpClient
from infra.runtime.logs import json_lines
from infra.runtime.operator_api import Operators, create_operator_app, load_operator_ring, serving
from infra.runtime.settings import ListenSettings
from infra.runtime.telemetry import Metrics
from infra.security.keys import generate_key_files
from infra.security.operator_token import verify_operator_token
from infra.security.roles import Role
from tests.support.asgi import ask_asgi
from tests.support.free_port import free_port
from tests.support.operator_tokens import operator_token

pytestmark = pytest.mark.anyio


async def _ready() -> tuple[bool, dict[str, object]]:
    return True, {}


@get("/fails", sync_to_thread=False)
def fails() -> None:
    raise RuntimeError("a fault of ours")


class Lines(logging.Handler):
    """What the process would write."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(json_lines("test"))
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))


@pytest.mark.parametrize(("given", "is_kept"), [("a-1", True), (None, False), ("two words", False), ("x" * 129, False)])
async def test_a_failure_is_found_by_the_id_of_its_answer(given: str | None, is_kept: bool, tmp_path: Path) -> None:
    lines, listen = Lines(), ListenSettings(port=free_port())
    logger = logging.getLogger("infra.runtime.problem")
    logger.addHandler(lines)
    try:
        generate_key_files(tmp_path)
        operators = Operators("x", load_operator_ring(tmp_path), {"GET /fails": Role.VIEWER}, time.time)
        app = create_operator_app(metrics=Metrics(()), ready=_ready, routes=[fails], operators=operators)
        token = operator_token(tmp_path)
        async with serving(app, listen), HttpClient(connections_per_host=1) as http:
            answer = await http.request(
                "GET",
                f"http://127.0.0.1:{listen.port}/fails",
                timeout_s=10,
                headers={"Authorization": f"Bearer {token}"} | ({} if given is None else {"X-Request-Id": given}),
            )
    finally:
        logger.removeHandler(lines)
    request_id = json.loads(answer.body)["request_id"]
    assert answer.status == 500
    assert request_id
    assert (request_id == given) is is_kept
    assert {name.lower(): value for name, value in answer.headers.items()}["x-request-id"] == request_id
    assert [json.loads(line)["request_id"] for line in lines.written] == [request_id]


@post("/changes", sync_to_thread=False)
def changes() -> None:
    """Something."""


@pytest.mark.parametrize(("role", "status"), [("operator", 201), ("viewer", 403)])
async def test_a_call_that_may_change_something_is_logged_with_the_tokens_id(
    role: str, status: int, tmp_path: Path
) -> None:
    generate_key_files(tmp_path)
    ring = load_operator_ring(tmp_path)
    operators = Operators("x", ring, {"POST /changes": Role.OPERATOR, "GET /fails": Role.VIEWER}, time.time)
    app = create_operator_app(metrics=Metrics(()), ready=_ready, routes=[changes, fails], operators=operators)
    request = "x POST /changes"
    token, lines, logger = (
        operator_token(tmp_path, role, request=request),
        Lines(),
        logging.getLogger("infra.runtime.operator_api"),
    )
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        assert (await ask_asgi(app, "POST", "/changes", headers=headers))[0] == status
        looking = {"Authorization": f"Bearer {operator_token(tmp_path, role)}"}
        assert (await ask_asgi(app, "GET", "/fails", headers=looking))[0] == 500
        assert (await ask_asgi(app, "GET", "/health/live"))[0] == 200
    finally:
        logger.removeHandler(lines)
        logger.setLevel(logging.NOTSET)
    (line,) = [json.loads(line) for line in lines.written]
    claims = verify_operator_token(ring, token, int(time.time()))
    assert (line["event"], line["endpoint"], line["token_id"], line["subject"], line["role"]) == (
        "operator call", "POST /changes", claims.token_id, claims.subject, role,
    )  # fmt: skip
