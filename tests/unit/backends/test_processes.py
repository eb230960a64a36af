"""From a record to processes and to supervisord's configuration: pure."""

import configparser
import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra.backends.backend import BackendError
from infra.backends.cell_spec import (
    CellSpec,
    Job,
    ProcessKind,
    ProcessSpec,
    Profile,
    SpecInvalid,
    StackSpec,
    next_cell_name,
)
from infra.backends.local.folders import StackFolder
from infra.backends.local.java import Java
from infra.backends.local.processes import Tools, make_addresses, make_layout, plan_processes
from infra.backends.local.record import StackRecord, load_record, new_record, save_record
from infra.backends.local.supervisor import render_config
from infra.backends.plan import STOP_ORDER, job_command, port_names
from infra.topology.identifiers import CELL_ID_CHARACTERS_MAX, parse_cell_id

TOOLS = Tools(
    Path("/pg/bin"), Path("/redis/valkey-server"), Java(Path("/java/bin/java"), 25), "/jars/*", Path("/cache")
)
TWO_CELLS = StackSpec(cells=(CellSpec("cell-1"), CellSpec("cell-2", apis=2)))
FOLDER = StackFolder(Path("/state/local-1"))


def make(spec: StackSpec = TWO_CELLS) -> StackRecord:
    record = new_record("local-1", spec)
    return record.with_ports({name: 20_000 + offset for offset, name in enumerate(port_names(spec))})


def planned(spec: StackSpec = TWO_CELLS) -> dict[str, ProcessSpec]:
    return {process.name: process for process in plan_processes(make(spec), FOLDER, TOOLS, "postgres")}


def test_names_of_a_stack() -> None:
    assert list(planned()) == [
        "control-postgres", "cell-1-postgres", "cell-2-postgres", "redis", "kafka", "control", "exchange",
        "cell-1-api-1", "cell-1-worker", "cell-1-relay",
        "cell-2-api-1", "cell-2-api-2", "cell-2-worker", "cell-2-relay", "router-1",
    ]  # fmt: skip


def test_a_stack_of_an_older_release_is_planned_without_what_it_has_no_port_for() -> None:
    record = make()
    old = record.with_ports({name: port for name, port in record.ports.items() if name != "control.operator"})
    names = [process.name for process in plan_processes(old, FOLDER, TOOLS, "postgres")]
    assert names == [name for name in planned() if name != "control"]


def test_every_process_of_ours_is_told_the_same_clock_and_no_server_is() -> None:
    for offset_s, said in ((0.0, "0.0"), (90.5, "90.5")):
        for process in planned(replace(TWO_CELLS, clock_offset_s=offset_s)).values():
            found = [value for name, value in process.environment.items() if name.endswith("_CLOCK__OFFSET_S")]
            assert found == ([said] if process.operator_port else []), process.name


def test_a_rehearsal_is_production_but_for_its_clock() -> None:
    def settings(spec: StackSpec) -> dict[str, dict[str, str]]:
        return {
            name: {key: value for key, value in process.environment.items() if "CLOCK" not in key}
            for name, process in planned(spec).items()
        }

    production = replace(TWO_CELLS, profile=Profile.PRODUCTION, market_hours="XNYS", share_transfers="approve")
    rehearsal = replace(production, profile=Profile.REHEARSAL, clock_offset_s=3_600.0)
    assert settings(production) == settings(rehearsal)
    limits = [key for key in settings(production)["router-1"] if key.startswith(("ROUTER_LIMITS", "ROUTER_EDGE"))]
    assert limits == [], "the router's own defaults"


def test_the_routers_share_the_rate_that_a_cell_admits() -> None:
    variable = "ROUTER_ADMISSION__ORDERS_PER_S"
    for routers in (1, 3):
        processes = planned(replace(TWO_CELLS, routers=routers, admission_rate=90.0)).values()
        said = [process.environment[variable] for process in processes if process.kind is ProcessKind.ROUTER]
        assert said == [f"{90 / routers:g}"] * routers
        assert not [each for each in processes if variable in each.environment and each.kind is not ProcessKind.ROUTER]
    assert variable not in planned()["router-1"].environment


def test_every_process_has_ports_of_its_own() -> None:
    processes = planned().values()
    ports = [port for process in processes for port in (process.port, process.operator_port) if port is not None]
    assert len(ports) == len(set(ports))
    ours = [process for process in processes if process.cell and process.kind is not ProcessKind.POSTGRES]
    assert all(process.operator_port for process in ours)


def test_an_address_names_the_passfile_and_no_password() -> None:
    form = re.compile(r"postgresql://\w+@127\.0\.0\.1:\d+/\w+\?passfile=/state/local-1/secrets/pgpass")
    dsns = [dsn for server in make_addresses(make(), FOLDER).dsns.values() for dsn in server.values()]
    assert len(dsns) == 12
    assert all(form.fullmatch(dsn) for dsn in dsns)


def test_a_cell_is_told_about_itself_only() -> None:
    environment = planned()["cell-2-worker"].environment
    record = make()
    assert environment["CELL_NAME"] == "cell-2"
    assert f":{record.port('cell-2-postgres')}/cell?passfile=" in environment["CELL_POSTGRES__DSN"]
    others = [str(record.port(name)) for name in ("cell-1-postgres", "control-postgres", "redis")]
    assert not any(port in " ".join(environment.values()) for port in others)
    assert "CELL_POSTGRES__OWNER_DSN" not in environment


def test_only_the_migration_job_knows_the_owner() -> None:
    job = Job("cell", ("migrate",), "cell-1")
    command, environment = job_command(job, make_addresses(make(), FOLDER), make_layout(FOLDER))
    assert command[1:] == ("-m", "cell", "migrate")
    assert environment["CELL_POSTGRES__OWNER_DSN"].startswith("postgresql://cell_owner@127.0.0.1:")


def test_servers_that_somebody_else_runs_are_not_planned() -> None:
    spec = replace(TWO_CELLS, redis_url="redis://elsewhere:6379/0", kafka_bootstrap_servers="elsewhere:9092")
    addresses = make_addresses(make(spec), FOLDER)
    processes = plan_processes(make(spec), FOLDER, Tools(Path("/pg/bin")), None)
    assert not {ProcessKind.REDIS, ProcessKind.KAFKA} & {process.kind for process in processes}
    assert "redis" not in port_names(spec)
    assert (addresses.redis_url, addresses.kafka) == ("redis://elsewhere:6379/0", "elsewhere:9092")


def test_every_kind_is_stopped_exactly_once() -> None:
    stopped = [kind for stage in STOP_ORDER for kind in stage]
    assert sorted(stopped) == sorted(kind for kind in ProcessKind if kind is not ProcessKind.SUPERVISOR)


def test_rendered_configuration_is_what_supervisord_reads() -> None:
    processes = plan_processes(make(), FOLDER, TOOLS, "postgres")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=True)
    parser.read_string(render_config(processes, FOLDER, as_root=True))
    programs = [section for section in parser.sections() if section.startswith("program:")]
    assert programs == [f"program:{process.name}" for process in processes]
    assert parser["program:cell-1-postgres"]["user"] == "postgres"
    assert parser["program:cell-1-postgres"]["stopsignal"] == "INT"
    assert all(parser[program]["autorestart"] == "true" for program in programs)


def test_an_odd_folder_is_quoted_or_refused() -> None:
    process = ProcessSpec("a", ProcessKind.API, ("/odd folder/100%/run", ""), environment={"X": "50%"})
    text = render_config([process], StackFolder(Path("/state")), as_root=False)
    assert 'command="/odd folder/100%%/run" ""' in text
    assert 'environment=X="50%%"' in text
    quoted = replace(process, environment={"X": 'a"b'})
    with pytest.raises(BackendError, match="cannot express"):
        render_config([quoted], StackFolder(Path("/state")), as_root=False)


def test_a_long_folder_gets_a_short_socket() -> None:
    folder = StackFolder(Path("/") / ("x" * 120))
    assert len(str(folder.supervisor_socket)) <= 100
    assert folder.supervisor_socket == StackFolder(folder.root).supervisor_socket
    assert StackFolder(Path("/short")).supervisor_socket == Path("/short/run/supervisor.sock")


@pytest.mark.parametrize("name", ["", "Cell", "cell_1", "cell-", "-cell", "1cell", "cell 1", "c" * 33, "cell-1;drop"])
def test_a_bad_cell_name_is_refused(name: str) -> None:
    with pytest.raises(SpecInvalid):
        CellSpec(name)


def test_the_longest_name_of_a_cell_is_one_that_the_map_takes() -> None:
    longest = "c" * CELL_ID_CHARACTERS_MAX
    assert parse_cell_id(CellSpec(longest).name) == longest
    with pytest.raises(SpecInvalid, match=f"at most {CELL_ID_CHARACTERS_MAX}"):
        CellSpec(longest + "c")


@pytest.mark.parametrize(
    "change", [{"cells": ()}, {"cells": (CellSpec("a"), CellSpec("a"))}, {"routers": 0}, {"risk_profile": "reckless"}]
)
def test_an_impossible_stack_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SpecInvalid):
        replace(TWO_CELLS, **change)  # type: ignore[arg-type]


def test_the_next_cell_takes_the_first_free_name() -> None:
    assert next_cell_name(frozenset()) == "cell-1"
    assert next_cell_name(frozenset({"cell-1", "cell-3", "west"})) == "cell-2"


def test_a_record_survives_writing(tmp_path: Path) -> None:
    record = make()
    save_record(tmp_path / "stack.json", record)
    assert load_record(tmp_path / "stack.json") == record
    assert load_record(tmp_path / "absent.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stack": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(BackendError, match=r"stack\.json is damaged"):
        load_record(path)


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    record: StackRecord = replace(make(), format=99)
    save_record(tmp_path / "stack.json", record)
    with pytest.raises(BackendError, match="another version"):
        load_record(tmp_path / "stack.json")
