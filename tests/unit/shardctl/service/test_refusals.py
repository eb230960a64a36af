"""A refusal over the socket carries the exit code that it means; a fault of ours does not become one."""

import pytest

from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseAway
from shardctl.errors import Blocked, NotReachable, Refused, ShardctlError, UsageError
from shardctl.service.controller import refused


@pytest.mark.parametrize(("error", "status"), [(Refused, 422), (UsageError, 400), (NotReachable, 503), (Blocked, 409)])
def test_status_and_exit_code(error: type[ShardctlError], status: int) -> None:
    problem = refused(error("why"))
    assert isinstance(problem, Problem)
    assert (problem.status, problem.detail, problem.figures) == (status, "why", {"exit_code": error.exit_code})


def test_a_database_that_is_away_is_not_reachable() -> None:
    problem = refused(DatabaseAway("gone"))
    assert isinstance(problem, Problem)
    assert problem.figures == {"exit_code": 3}


def test_a_fault_stays_a_fault() -> None:
    fault = KeyError("x")
    assert refused(fault) is fault
