"""The report: one file with everything in it, readable by who was not there; plots that hold their values."""

import re
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from loadtests.load.histogram import LatencyHistogram
from loadtests.load.honesty import GeneratorFacts
from loadtests.load.measured import Measured
from loadtests.load.order_audit import Audit
from loadtests.load.outcomes import Outcome
from loadtests.load.plots import HEIGHT, WIDTH, Series, plot, round_up
from loadtests.load.recorder import Key, Samples
from loadtests.load.report import Run, document_of, kept_document
from loadtests.load.report_page import page_of
from loadtests.load.run_folder import RunFacts
from loadtests.load.verdict import judge
from tests.support.honest_run import BOOKS, HONEST

FACTS = RunFacts(
    run="0a1b2c3d",
    opened_at_s=0.0,
    shape="meme-spike",
    lasting_s=72.0,
    base_per_s=6.0,
    seed=1,
    meme="GME",
    customers={"fomo-buyer": 10, "lurker": 10},
    router_url="http://127.0.0.1:1",
    accounts="accounts.json",
)


def a_run(*, plateau_ms: int = 20, shed: int = 0) -> Run:
    from_due: list[tuple[Key, dict[str, Any]]] = []

    def add(second: int, who: str, cell: str, outcome: Outcome, ms: int, times: int) -> None:
        histogram = LatencyHistogram()
        histogram.record(ms * 1000, times)
        from_due.append((Key(second, who, cell, "order", outcome), histogram.document()))

    for second in range(72):
        is_plateau = 24 <= second < 48
        add(second, "fomo-buyer", "cell-1", Outcome.DONE, plateau_ms if is_plateau else 10, 42 if is_plateau else 6)
        add(second, "lurker", "cell-2", Outcome.DONE, 10, 6)
    if shed:
        add(30, "fomo-buyer", "cell-1", Outcome.SHED, 4, shed)
    measured = Measured([Samples("generator-1", 1.0, from_due, {}, {})], FACTS.traffic().shape.spans())
    audit = Audit(acknowledged=1_000)
    generators = [msgspec.convert(msgspec.to_builtins(HONEST), GeneratorFacts)]
    rules = judge(measured, audit, BOOKS, due=measured.figures().count, admission_rate=FACTS.admission_rate)
    return Run(FACTS, measured, generators, audit, BOOKS, rules, {}, {"machine": "<two> & more"})


def test_the_document_says_who_noticed_and_who_did_not() -> None:
    document = document_of(a_run(plateau_ms=400))
    assert {each["who"] for each in document["noticed"]} == {"cell cell-1", "class fomo-buyer"}
    assert all(each["phase"] == "plateau" for each in document["noticed"])
    assert all(each["what"].startswith("p99 400 ms") for each in document["noticed"])
    assert document_of(a_run())["noticed"] == []


def test_who_was_shed_noticed() -> None:
    noticed = document_of(a_run(shed=3))["noticed"]
    assert {(each["who"], each["phase"], each["what"]) for each in noticed} == {
        ("cell cell-1", "plateau", "3 of 1,011 requests were shed"),
        ("class fomo-buyer", "plateau", "3 of 1,011 requests were shed"),
    }


def test_the_document_can_be_written_and_holds_figures_of_every_cell_and_class_in_every_phase() -> None:
    document = msgspec.json.decode(msgspec.json.encode(document_of(a_run())))
    assert document["passed"]
    for who in ("all", "cell cell-1", "cell cell-2", "class fomo-buyer", "class lurker"):
        phases = [row["phase"] for row in document["requests"][who]]
        assert phases == ["calm", "rise", "plateau", "decay", "after"]
    plateau = document["requests"]["class fomo-buyer"][2]
    assert (plateau["per_s"], plateau["requests"]) == (42.0, 24 * 42)
    assert [row["planned_per_s"] for row in document["offered"]][::2] == [6.0, 42.0, 6.0]
    assert [row["planned_times"] for row in document["offered"]][::2] == [1.0, 7.0, 1.0]
    assert [row["times"] for row in document["offered"]][::2] == [1.0, 4.0, 1.0], "of the first phase's 12 a second"


def test_what_is_kept_of_a_run_names_no_address_and_no_path() -> None:
    document = kept_document(a_run(), {"commit": "0a1b"})
    assert not {"router_url", "accounts"} & document["run"].keys()
    assert (document["run"]["seed"], document["conditions"]["commit"]) == (1, "0a1b")


def test_the_page_is_one_file_that_escapes_what_it_is_told_and_plots_every_cell_and_class() -> None:
    run = a_run()
    page = page_of(run, document_of(run))
    assert "&lt;two&gt; &amp; more" in page
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    plots = re.findall(r"<svg.*?</svg>", page)
    titles = [ElementTree.fromstring(each).attrib["aria-label"] for each in plots]
    for who in ("all requests", "orders", "cell-1", "cell-2", "fomo-buyer", "lurker"):
        assert who in titles
    assert "Nobody" in page


def test_a_plot_stays_inside_its_frame_and_breaks_where_nothing_was_measured() -> None:
    series = [Series("p99", (1.0, None, 900.0, 450.0, None))]
    tree = ElementTree.fromstring(plot("a <title>", "ms", 1.0, series, (("calm", 0.0, 5.0),), limit=500.0))
    lines = [each.attrib["points"] for each in tree.iter("polyline")]
    assert len(lines) == 2
    for point in " ".join(lines).split():
        x, y = (float(each) for each in point.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert [each for each in tree.iter("line") if each.attrib["class"] == "limit"]


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.3, 0.4), (1, 1), (1.2, 2), (37, 40), (81, 100), (900, 1000)])
def test_scales_end_at_round_numbers(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)
