"""What a process becomes when it is started or renewed: launch files, stand-ins, the order of renewing.."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from infra.backends.addresses import OPERATOR
from infra.backends.cell_spec import CellSpec, ProcessKind, ProcessSpec, StackSpec
from infra.backends.local.folders import StackFolder
from infra.backends.local.launch import DIGEST, next_environment
from infra.backends.local.launching import (
    as_supervised,
    digest_of,
    launched_digest,
    launcher_command,
    stands_in_for,
    write_launch,
)
from infra.backends.local.processes import Tools, make_addresses, plan_processes
from infra.backends.local.record import StackRecord, new_record
from infra.backends.local.renewal import runs_otherwise
from infra.backends.local.stand_in import PORT_NAMES, PREFIXES, STAND_IN, addresses_through, stand_in_for
from infra.backends.plan import RENEWAL_ORDER, in_renewal_order, port_names

SPEC = StackSpec((CellSpec("cell-1", apis=2), CellSpec("cell-2")), routers=2)


def make(spec: StackSpec = SPEC) -> StackRecord:
    names = (*port_names(spec), *PORT_NAMES)
    return new_record("mine", spec).with_ports({name: 20_000 + offset for offset, name in enumerate(names)})


def planned(folder: StackFolder, record: StackRecord) -> dict[str, ProcessSpec]:
    return {process.name: process for process in plan_processes(record, folder, Tools(Path("/pg/bin")), None)}


def test_the_order_of_renewing_has_every_kind_and_the_routers_last(tmp_path: Path) -> None:
    assert frozenset[ProcessKind]().union(*RENEWAL_ORDER) == frozenset(ProcessKind) - {ProcessKind.SUPERVISOR}
    names = in_renewal_order(planned(StackFolder(tmp_path), make()).values())
    assert names == (
        "control-postgres", "cell-1-postgres", "cell-2-postgres",
        "cell-1-api-1", "cell-1-api-2", "cell-1-worker", "cell-1-relay",
        "cell-2-api-1", "cell-2-worker", "cell-2-relay", "control", "exchange", "router-1", "router-2",
    )  # fmt: skip


def test_a_stand_in_is_the_same_on_other_ports(tmp_path: Path) -> None:
    record = make()
    for process in planned(StackFolder(tmp_path), record).values():
        if process.kind not in PREFIXES:
            continue
        instance = stand_in_for(process, 1, 2)
        assert instance.command == process.command
        differing = {name for name, value in process.environment.items() if instance.environment[name] != value}
        prefix = PREFIXES[process.kind]
        expected = {f"{prefix}_OPERATOR__PORT"}
        if process.port is not None:
            expected.add(f"{prefix}_LISTEN__PORT")
        if process.kind is ProcessKind.ROUTER:
            expected |= {"ROUTER_NAME", "ROUTER_MAP_FILE"}
        assert differing == expected, process.name
        assert set(instance.environment) == set(process.environment)


def test_while_it_stands_in_only_one_address_is_another(tmp_path: Path) -> None:
    addresses = make_addresses(make(), StackFolder(tmp_path))
    through = addresses_through(addresses, "cell-1-api-2")
    changed = {name for name, endpoint in addresses.endpoints.items() if through.endpoints[name] != endpoint}
    assert changed == {"cell-1-api-2", "cell-1-api-2" + OPERATOR}
    assert through.port("cell-1-api-2") == addresses.port(STAND_IN)
    assert through.port("cell-1-api-2" + OPERATOR) == addresses.port(STAND_IN + OPERATOR)


def test_a_digest_tells_settings_apart_and_not_who_has_them(tmp_path: Path) -> None:
    process = planned(StackFolder(tmp_path), make())["cell-1-worker"]
    assert digest_of(process) == digest_of(replace(process, name="another"))
    assert digest_of(process) != digest_of(replace(process, environment={**process.environment, "CELL_NAME": "x"}))
    assert digest_of(process) != digest_of(replace(process, command=("other",)))


def test_the_supervisor_is_told_no_setting_and_servers_stay_as_they_are(tmp_path: Path) -> None:
    folder, record = StackFolder(tmp_path), make()
    for process in planned(folder, record).values():
        told = as_supervised(process, folder)
        if process.kind is ProcessKind.POSTGRES:
            assert told == process
        else:
            assert (told.environment, told.command) == ({}, launcher_command(process.name, folder))


def test_a_setting_that_is_gone_from_the_next_launch_is_gone() -> None:
    first = next_environment({"PATH": "/bin", "OVER": "shell"}, {"A": "1", "OVER": "file"}, "one")
    assert (first["A"], first["OVER"], first[DIGEST]) == ("1", "file", "one")
    second = next_environment({**first, "ROUTER_LISTEN_FD": "7"}, {"B": "2"}, "two")
    assert {name: second.get(name) for name in ("A", "B", "PATH", "ROUTER_LISTEN_FD")} == {
        "A": None, "B": "2", "PATH": "/bin", "ROUTER_LISTEN_FD": "7",
    }  # fmt: skip


def test_a_launched_process_carries_its_settings_and_says_which(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    folder.ensure()
    wait = "import os, sys; print(os.environ['ASKED'], flush=True); sys.stdin.read()"
    process = ProcessSpec(
        "router-1", ProcessKind.ROUTER, (sys.executable, "-c", wait), operator_port=1, environment={"ASKED": "for"}
    )
    write_launch(process, folder)
    assert folder.launch("router-1").stat().st_mode & 0o777 == 0o600
    command = launcher_command("router-1", folder)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "for\n"
        assert launched_digest(running.pid) == digest_of(process)
        assert not runs_otherwise(process, running.pid)
        assert runs_otherwise(replace(process, environment={"ASKED": "for more"}), running.pid)
        running.communicate("")
    assert launched_digest(running.pid) is None
    assert runs_otherwise(process, os.getpid()), "started without a launch file"


def test_a_stand_ins_file_says_for_whom_it_is(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    folder.ensure()
    assert stands_in_for(folder.launch(STAND_IN)) == ""
    process = planned(folder, make())["router-2"]
    write_launch(stand_in_for(process, 1, 2), folder, for_process="router-2")
    assert stands_in_for(folder.launch(STAND_IN)) == "router-2"
    reload = json.loads(folder.launch(STAND_IN).read_text())["settings"]["ROUTER_RELOAD_COMMAND"]
    assert str(folder.launch(STAND_IN)) in reload
