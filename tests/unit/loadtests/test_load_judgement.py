"""A kept run is judged without its stack, as often as one likes, and by its exit code; a late generator's is not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from loadtests.__main__ import app
from loadtests.load.found import FOUND_FILE, Found, RunNotKept, read_found, write_found
from loadtests.load.honesty import GeneratorFacts
from loadtests.load.judgement import REPORT_HTML, REPORT_JSON
from loadtests.load.order_audit import Audit
from loadtests.load.outcomes import Outcome
from loadtests.load.recorder import Recorder
from loadtests.load.run_folder import LOCUST_FILE, RUN_FILE, RunFacts, write_facts
from tests.support.honest_run import BOOKS, HONEST

FACTS = RunFacts(
    run="0a1b2c3d",
    opened_at_s=0.0,
    shape="steady-day",
    lasting_s=10.0,
    base_per_s=2.0,
    seed=1,
    meme="GME",
    customers={"fomo-buyer": 4},
    router_url="http://127.0.0.1:1",
    accounts="accounts.json",
)
OK, FAILED, THROWN_AWAY = 0, 1, 10


def keep_run(folder: Path, *, audit: Audit, generator: GeneratorFacts = HONEST, is_asked: bool = True) -> None:
    write_facts(folder, FACTS)
    recorder = Recorder(folder, "generator-1", FACTS.lasting_s)
    due = FACTS.traffic().due_in_all()
    for number in range(due):
        recorder.measured(
            number * FACTS.lasting_s / due,
            "fomo-buyer",
            "cell-1",
            "order",
            Outcome.DONE,
            from_due_s=0.02,
            from_sent_s=0.02,
        )
    recorder.close(msgspec.to_builtins(generator))
    (folder / LOCUST_FILE).write_text("{}")
    if is_asked:
        write_found(folder, Found(audit, BOOKS, {"machine": "two cores"}))


def verdict(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verdict", str(folder)])
    return done.exit_code, done.output


def report(folder: Path) -> Any:
    return msgspec.json.decode((folder / REPORT_JSON).read_bytes())


def test_a_kept_run_is_judged_again_with_the_same_outcome(tmp_path: Path) -> None:
    keep_run(tmp_path, audit=Audit(acknowledged=20))
    assert verdict(tmp_path)[0] == OK
    first = report(tmp_path)
    (tmp_path / REPORT_HTML).unlink()
    code, said = verdict(tmp_path)
    assert (code, report(tmp_path)) == (OK, first)
    assert (tmp_path / REPORT_HTML).exists()
    assert "orders lost" in said
    assert "pass" in said
    assert "times the base rate was planned" in said


def test_a_lost_order_fails_by_its_exit_code(tmp_path: Path) -> None:
    keep_run(tmp_path, audit=Audit(acknowledged=20, lost=1, examples=["lost: run-bot-0-1"]))
    code, said = verdict(tmp_path)
    assert code == FAILED
    assert "FAIL" in said
    assert "lost: run-bot-0-1" in said
    assert [rule["about"] for rule in report(tmp_path)["rules"] if not rule["is_kept"]] == ["orders lost"]


@pytest.mark.parametrize("change", [{"lag_p50_ms": 5.0}, {"busiest_share": 0.97}])
def test_a_run_whose_generator_lagged_is_thrown_away_before_anybody_is_asked(
    tmp_path: Path, change: dict[str, float]
) -> None:
    keep_run(tmp_path, audit=Audit(), generator=msgspec.structs.replace(HONEST, **change), is_asked=False)
    code, said = verdict(tmp_path)
    assert code == THROWN_AWAY
    assert "the generator lagged" in said
    assert not list(tmp_path.glob("report.*"))


def test_what_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    code, said = verdict(tmp_path)
    assert code == FAILED
    assert RUN_FILE in said
    keep_run(tmp_path, audit=Audit())
    (tmp_path / FOUND_FILE).write_text("{")
    with pytest.raises(RunNotKept, match="damaged"):
        read_found(tmp_path)
