"""Every answer of an operator port names its request, so that the log line of a failure can be found."""

import json
import logging
import time
from pathlib import Path

import pytest
from litestar import get

from infra.runtime.http_client import HttpClient
from infra.runtime.logs import json_lines
from infra.runtime.operator_api import Operators, create_operator_app, load_operator_ring, serving
from infra.runtime.settings import ListenSettings
from infra.runtime.telemetry import Metrics
from infra.security.keys import generate_key_files
from infra.security.roles import Role
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
