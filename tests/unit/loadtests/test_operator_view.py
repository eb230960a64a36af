"""What shardctl prints is read as a shell would read it."""

import pytest

from loadtests.operator_view import OperatorRefused, OperatorView, parse_environment, router_address

pytestmark = pytest.mark.anyio


def test_shell_lines_are_read() -> None:
    text = "export ROUTER_URL=http://127.0.0.1:8080\nCELL_1_DSN='host=127.0.0.1 port=5 dbname=cell'\n# a remark\n"
    assert parse_environment(text) == {
        "ROUTER_URL": "http://127.0.0.1:8080",
        "CELL_1_DSN": "host=127.0.0.1 port=5 dbname=cell",
    }


class ViewOf(OperatorView):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    async def run(self, *arguments: str, codes: tuple[int, ...] = (0,), limit_s: float = 1.0) -> str:
        return self.text


async def test_the_option_wins_then_the_environment_then_the_stack() -> None:
    view = ViewOf("ROUTER_URL=http://stack\n")
    assert await router_address("http://option", view, {"ROUTER_URL": "http://environment"}) == "http://option"
    assert await router_address(None, view, {"ROUTER_URL": "http://environment"}) == "http://environment"
    assert await router_address(None, view, {}) == "http://stack"


async def test_a_stack_without_a_router_is_said() -> None:
    with pytest.raises(OperatorRefused, match="is the stack up"):
        await router_address(None, ViewOf("REDIS_URL=x\n"), {})


async def test_an_answer_that_is_no_json_is_not_taken_for_one() -> None:
    with pytest.raises(OperatorRefused, match="not JSON"):
        await ViewOf("Traceback ...").json("status")


@pytest.mark.parametrize(
    ("code", "said", "passes"),
    [
        (3, "Kafka: no answer", True),
        (1, "cell-1 refused (503 CELL_UNAVAILABLE): try again", True),
        (1, "cell-1 refused (404 NOT_FOUND)", False),
        (1, "run r was loaded before with other content", False),
        (2, "no such option", False),
    ],
)
def test_only_what_may_pass_is_asked_again(code: int, said: str, passes: bool) -> None:
    assert OperatorRefused(("cells", "summary", "cell-1"), code, said).is_passing is passes
