"""What each kind plans and concludes: pure, so without a stack."""

from typing import Any

import pytest

from shardctl.cells.archived import totals_of
from shardctl.errors import Exit, Refused, UsageError
from shardctl.operations.kinds.backup_create import BACKUP_CREATE
from shardctl.operations.kinds.backup_rehearse import BACKUP_REHEARSE
from shardctl.operations.kinds.cells_add import CELLS_ADD
from shardctl.operations.kinds.cells_archive import CELLS_ARCHIVE
from shardctl.operations.kinds.cells_reconcile import CELLS_RECONCILE
from shardctl.operations.kinds.keys_rotate import KEYS_ROTATE
from shardctl.operations.kinds.keys_rotated import changes_of
from shardctl.operations.kinds.of_cells import cells_named
from shardctl.operations.kinds.routers_restart import ROUTERS_RESTART
from shardctl.operations.plan import Conclusion
from shardctl.operations.states import State

ROUTERS = {"routers": ["router-1", "router-2"]}
CELLS = {"cells": ["cell-1", "cell-2"]}
RUNNING = {"is_running": True, "cells": [{"name": "cell-1", "apis": 1}, {"name": "cell-2", "apis": 2}]}


def test_all_routers_one_after_the_other() -> None:
    plan = ROUTERS_RESTART.plan(ROUTERS_RESTART.parse({}), ROUTERS)
    assert [step.key for step in plan.steps] == ["renew router-1", "renew router-2"]
    assert (plan.target, plan.cells) == ("all", ())


def test_one_router() -> None:
    plan = ROUTERS_RESTART.plan(ROUTERS_RESTART.parse({"router": "router-2"}), ROUTERS)
    assert [step.arguments for step in plan.steps] == [{"router": "router-2"}]


def test_a_router_that_is_not_there() -> None:
    with pytest.raises(Refused, match="there are: router-1, router-2"):
        ROUTERS_RESTART.plan(ROUTERS_RESTART.parse({"router": "router-3"}), ROUTERS)
    with pytest.raises(UsageError):
        ROUTERS_RESTART.parse({"routers": ["router-1"]})


def test_a_cell_joins_with_the_map_last_and_no_way_back_from_there() -> None:
    plan = CELLS_ADD.plan(CELLS_ADD.parse({}), RUNNING)
    assert (plan.target, plan.subjects, plan.cells) == ("cell-3", ("cell-3",), ())
    assert [step.action for step in plan.steps] == [
        "make", "start_database", "migrate", "make_topics", "start_processes", "register", "publish",
    ]  # fmt: skip
    assert [step.action for step in plan.steps if step.is_irrevocable] == ["register"]


def test_a_cell_that_is_there_is_never_taken_away() -> None:
    plan = CELLS_ADD.plan(CELLS_ADD.parse({"cell": "cell-1"}), RUNNING)
    assert {step.arguments["is_new"] for step in plan.steps} == {False}
    with pytest.raises(Refused, match="another number of apis"):
        CELLS_ADD.plan(CELLS_ADD.parse({"cell": "cell-2"}), RUNNING)
    with pytest.raises(Refused, match="not running"):
        CELLS_ADD.plan(CELLS_ADD.parse({}), {**RUNNING, "is_running": False})
    for wrong in ({"cell": "Cell 1"}, {"apis": 99}, {"apis": "1"}):
        with pytest.raises(UsageError):
            CELLS_ADD.parse(wrong)


def test_keys_are_added_before_any_signs_and_dropped_after_all_do() -> None:
    plan = KEYS_ROTATE.plan(KEYS_ROTATE.parse({}), {})
    assert [step.action for step in plan.steps] == [*["add"] * 3, "settle", *["activate"] * 3, *["drop"] * 3, "ask"]
    at_once = KEYS_ROTATE.plan(KEYS_ROTATE.parse({"rings": ["route"], "drop_old": True}), {})
    assert [step.action for step in at_once.steps] == ["add", "settle", "activate", "settle", "drop", "ask"]
    assert [step.is_irrevocable for step in at_once.steps] == [False, False, True, False, False, False]
    with pytest.raises(UsageError, match="no such ring: email"):
        KEYS_ROTATE.parse({"rings": ["email"]})
    said: dict[str, dict[str, Any]] = {"add": {"kid": "b"}, "drop": {"dropped": ["a"]}}
    results = {step.key: said.get(step.action, {}) for step in at_once.steps}
    assert changes_of(results) == [("route", "b", ["a"])]


def test_databases_are_backed_up_one_by_one_and_pruned_when_all_are_taken() -> None:
    plan = BACKUP_CREATE.plan(BACKUP_CREATE.parse({"keep": 4}), CELLS)
    assert [step.key for step in plan.steps[:3]] == ["back up control", "back up cell-1", "back up cell-2"]
    assert [step.action for step in plan.steps] == [*["take"] * 3, *["prune"] * 3]
    assert (plan.target, plan.subjects, plan.cells) == ("all databases", ("control", "cell-1", "cell-2"), ())
    one = BACKUP_CREATE.plan(BACKUP_CREATE.parse({"of": "control", "incremental": True}), CELLS)
    assert [step.arguments for step in one.steps] == [{"of": "control", "incremental": True}]
    with pytest.raises(Refused, match="no database of cell-9; there are: control, cell-1, cell-2"):
        BACKUP_CREATE.plan(BACKUP_CREATE.parse({"of": "cell-9"}), CELLS)
    for keep in (0, 1_001):
        with pytest.raises(UsageError, match="keep is 1 to 1000"):
            BACKUP_CREATE.parse({"keep": keep})


def test_one_dead_database_does_not_end_the_backups_of_the_others() -> None:
    taken = {"label": "control-1", "kind": "full", "size_bytes": 7}
    assert BACKUP_CREATE.conclude({"back up control": taken}).exit_code is Exit.DONE
    said = BACKUP_CREATE.conclude({"back up cell-1": {"of": "cell-1", "failed": "no room"}, "back up control": taken})
    assert (said.state, said.exit_code, said.detail) == (State.FAILED, Exit.FAILED, "cell-1: no room")


def test_every_cell_is_rehearsed_and_the_conclusion_names_those_that_would_not_do() -> None:
    plan = BACKUP_REHEARSE.plan(BACKUP_REHEARSE.parse({}), CELLS)
    assert [step.key for step in plan.steps] == ["rehearse cell-1", "rehearse cell-2"]
    assert plan.subjects == ("cell-1", "cell-2")
    assert BACKUP_REHEARSE.parse({"cell": "cell-1", "to": "2026-01-02T11:00:00+01:00"}) == {
        "cell": "cell-1",
        "to": "2026-01-02T10:00:00.000000Z",
    }
    with pytest.raises(UsageError, match="a time with its zone"):
        BACKUP_REHEARSE.parse({"to": "yesterday"})
    good, bad = {"cell": "cell-1", "findings": []}, {"cell": "cell-2", "findings": ["entries_balance found 2 rows"]}
    assert BACKUP_REHEARSE.conclude({"a": good}).exit_code == 0
    concluded = BACKUP_REHEARSE.conclude({"a": good, "b": bad})
    assert (concluded.state, concluded.exit_code) == (State.FAILED, 1)
    assert "cell-2: entries_balance found 2 rows" in (concluded.detail or "")


def test_work_on_cells_names_whom_it_calls() -> None:
    for kind in (CELLS_ARCHIVE, CELLS_RECONCILE):
        every = kind.plan(kind.parse({}), CELLS)
        assert (every.target, every.cells, len(every.steps)) == ("all cells", ("cell-1", "cell-2"), 2)
        one = kind.plan(kind.parse({"cell": "cell-2"}), CELLS)
        assert (one.target, one.cells) == ("cell-2", ("cell-2",))
    with pytest.raises(Refused, match="there is no cell cell-9"):
        cells_named({"cell": "cell-9"}, CELLS)


def test_an_archive_says_of_whom_nothing_was_moved() -> None:
    counts = dict.fromkeys(("users", "deferred", "entries", "postings", "events", "executions"), 3)
    done = {"cell": "cell-1", "totals": counts, "unpublished": False}
    assert CELLS_ARCHIVE.conclude({"archive cell-1": done}).exit_code == 0
    assert totals_of(done).entries == 3
    waits = CELLS_ARCHIVE.conclude({"archive cell-1": done, "archive cell-2": {"cell": "cell-2", "unpublished": True}})
    assert waits.exit_code == 1
    assert "cell-2-relay" in str(waits.detail)


def run(verdict: str, *found: str) -> dict[str, Any]:
    return {"verdict": verdict, "found": list(found)}


def judge(runs: dict[str, dict[str, Any]]) -> Conclusion:
    return CELLS_RECONCILE.conclude({f"reconcile {cell}": {"cell": cell, **run} for cell, run in runs.items()})


def test_equal_runs_end_with_nothing_to_say() -> None:
    assert judge({"cell-1": run("equal"), "cell-2": run("equal")}).exit_code == 0


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (("venue",), "shardctl cells quarantine cell-2"),
        (("events",), "shardctl events count --cell cell-2"),
        (("chain_verifies",), "shardctl cells check cell-2 --json"),
        (("venue", "events"), "shardctl cells check cell-2 --json"),
    ],
)
def test_a_difference_names_the_cell_the_check_and_the_next_command(found: tuple[str, ...], command: str) -> None:
    concluded = judge({"cell-1": run("incomplete"), "cell-2": run("different", *found)})
    said = str(concluded.detail)
    assert concluded.exit_code == 1
    assert said.startswith(f"cell-2: {', '.join(found)}: look at `shardctl cells reconciliations cell-2 -n 1")
    assert f"`{command}`" in said


def test_every_cell_that_differs_is_named() -> None:
    concluded = judge(
        {"cell-1": run("different", "venue"), "cell-2": run("equal"), "cell-3": run("different", "events")}
    )
    assert "cell-1: venue; cell-3: events" in str(concluded.detail)


def test_a_side_that_was_not_asked_is_never_a_pass() -> None:
    concluded = judge({"cell-1": run("incomplete"), "cell-2": run("incomplete"), "cell-3": run("equal")})
    assert concluded.exit_code == 3
    assert "cell-1, cell-2: not everything could be asked" in str(concluded.detail)
