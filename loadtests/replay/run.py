"""A recorded tape played as customers would play it, and reconciled to the last micro-dollar.

Each invocation signs up customers of its own (client_order_ids are unique per customer) and a run name is played
once: the exchange knows the orders of a run by `<run>-<tape id>`, so a second play under the same name would be
answered with the first. A customer's own commands keep the tape's order and each waits for the answer of the one
before. A cancel goes out once its order stands in the market: before that the platform may end the order by itself,
and fills that precede the cancel on the tape would never happen. Refusals and lost answers are collected as
differences; nothing is retried under another key.
"""

import re

from loadtests.client import RouterClient
from loadtests.operator_view import OperatorView
from loadtests.replay.books import cell_sums, reconcile_cells, reconcile_customers, settle
from loadtests.replay.players import fund, play, sign_up, wait_for_price
from loadtests.replay.state import AT_ONCE, Progress, ReplayRefused, ReplayReport, ReplayRequest
from loadtests.replay.tape_file import read_tape
from loadtests.replay.tape_plan import TapePlan, plan_tape

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def read_plan(request: ReplayRequest) -> TapePlan:
    """Raises ReplayRefused."""
    if RUN_NAME.fullmatch(request.run) is None:
        raise ReplayRefused(f"--run {request.run!r}: letters, digits, '-', '_' and '.' only, at most 40")
    if request.speed is not None and request.speed <= 0:
        raise ReplayRefused(f"--speed {request.speed}: must be above zero; leave it out to play as fast as possible")
    rows = read_tape(request.messages)
    return plan_tape(rows, file=str(request.messages), customers=request.customers)


async def run_replay(
    request: ReplayRequest, plan: TapePlan, router_url: str, view: OperatorView, progress: Progress
) -> ReplayReport:
    """Raises ReplayRefused."""
    report = ReplayReport(request, router_url, plan)
    report.tape_loaded_now = await _ensure_tape(request, view)
    cells = await view.cells()
    before = await cell_sums(view, cells, request.symbol)
    async with RouterClient(router_url, connections=AT_ONCE) as router:
        await router.must_answer()
        players = await sign_up(router, request, plan, view, progress)
        await wait_for_price(players, request.symbol, plan)
        await fund(players, request.symbol, plan, view, progress)
        await play(players, report, progress)
        await settle(players, report, progress)
        await reconcile_customers(players, report, progress)
    await reconcile_cells(players, report, view, before)
    return report


async def _ensure_tape(request: ReplayRequest, view: OperatorView) -> bool:
    """The exchange must hold this very tape under this run, unplayed; it refuses other content under the same run."""
    tape = await view.json(
        "exchange", "load-tape", str(request.messages), "--symbol", request.symbol, "--run", request.run,
        "--waits-for-replace",
    )  # fmt: skip
    if int(tape["orders_taken"]) > 0:
        raise ReplayRefused(
            f"run {request.run!r} was already played ({tape['orders_taken']} of its orders reached the exchange): "
            "choose another --run"
        )
    return bool(tape["new"])
