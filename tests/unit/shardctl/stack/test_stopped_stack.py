"""Commands on a stack that does not run, and what `up` takes from the environment."""

from pathlib import Path

import pytest

from infra.backends.backend import Step, quiet
from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.runtime.clock import SystemClock
from shardctl.cells.provision import migrate_control
from shardctl.errors import Refused
from shardctl.operations.kinds.cells_add import CELLS_ADD
from shardctl.operations.resources import unfenced_resources
from shardctl.stack.stop import stop_stack
from tests.support.recording_backend import RecordingBackend

pytestmark = pytest.mark.anyio


@pytest.fixture
def stopped(tmp_path: Path) -> LocalBackend:
    folder = StackFolder(tmp_path)
    folder.ensure()
    save_record(folder.record, new_record("stopped", StackSpec((CellSpec("cell-1"),))))
    return LocalBackend("stopped", folder)


async def test_a_cell_is_added_to_a_running_stack_only(stopped: LocalBackend) -> None:
    resources = unfenced_resources(stopped, SystemClock(), "")
    arguments = CELLS_ADD.parse({"cell": "cell-2"})
    facts = await CELLS_ADD.observe(resources, arguments)
    with pytest.raises(Refused, match="the stack is not running: `shardctl up` first"):
        CELLS_ADD.plan(arguments, facts)
    assert [cell.name for cell in stopped.record().spec.cells] == ["cell-1"]


async def test_a_stopped_stack_is_stopped_again_without_a_record(
    stopped: LocalBackend, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[Step] = []
    await stop_stack(LocalBackend("stopped", stopped.folder, steps.append))
    assert steps == []
    assert "not recorded" not in capfd.readouterr().err


async def test_of_a_stopped_stack_nothing_is_outdated_or_left_to_stop(stopped: LocalBackend) -> None:
    assert await stopped.outdated() == ()
    await stopped.stop_processes(("exchange", "router-1"))
    assert not await stopped.is_running()


def test_only_servers_of_others_are_taken_from_the_environment(
    stopped: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    assert stopped.external_servers() == {}
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379/0")
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "mine.")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert stopped.external_servers() == {"REDIS_URL": "redis://elsewhere:6379/0", "KAFKA_TOPIC_PREFIX": "mine."}


async def test_the_control_schema_comes_by_a_job_of_its_owner(tmp_path: Path) -> None:
    backend = RecordingBackend("other", tmp_path, quiet)
    await migrate_control(backend, quiet)
    assert backend.calls() == [["reconcile_roles", "control-postgres"], ["run_job", "", "shardctl", "migrate"]]
