"""From a run's folder to its verdict and its two reports; again and again, with the same outcome.

The stack is asked once (every order audited, the books proven), and what it said is kept in the folder. A run whose
generator lagged is thrown away: `RunThrownAway` says why, the stack is not asked, and no report is written.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtests.load.account_file import read_accounts, write_accounts
from loadtests.load.books import prove_books
from loadtests.load.found import Found, RunNotKept, read_found, write_found
from loadtests.load.honesty import GeneratorFacts, why_thrown_away
from loadtests.load.measured import Measured
from loadtests.load.order_audit import audit_orders
from loadtests.load.recorder import read_journal, read_samples
from loadtests.load.report import Run, document_of
from loadtests.load.report_page import page_of
from loadtests.load.run_folder import LOCUST_FILE, RUN_FILE, RunFacts, read_facts
from loadtests.load.verdict import judge
from loadtests.operator_view import OperatorView
from loadtests.quiet import summaries_of

REPORT_JSON, REPORT_HTML = "report.json", "report.html"


class RunThrownAway(Exception):
    """The generator lagged: what it measured says nothing about the platform."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


async def judge_run(view: OperatorView, folder: Path, before: Mapping[str, Mapping[str, Any]] | None = None) -> Run:
    """`before` are the cells' summaries before the run; without them (a run of Locust alone) orders are not counted by
    cell. Raises RunThrownAway, RunNotKept, and what the operator's view raises."""
    if not (folder / RUN_FILE).exists():
        raise RunNotKept(f"{folder} is no folder of a run: {RUN_FILE} is missing")
    facts = read_facts(folder)
    samples = read_samples(folder)
    generators = [msgspec.convert(each.generator, GeneratorFacts) for each in samples]
    if reasons := why_thrown_away(generators):
        raise RunThrownAway(reasons)
    found = read_found(folder)
    if found is None:
        found = await _find_out(view, folder, facts, before)
        write_found(folder, found)
    measured = Measured(samples, facts.traffic().shape.spans())
    run = Run(
        facts=facts,
        measured=measured,
        generators=generators,
        audit=found.audit,
        books=found.books,
        rules=judge(
            measured,
            found.audit,
            found.books,
            due=facts.traffic().due_in_all(),
            admission_rate=facts.admission_rate,
        ),
        locust=msgspec.json.decode((folder / LOCUST_FILE).read_bytes()),
        conditions=found.conditions,
    )
    document = document_of(run)
    (folder / REPORT_JSON).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    (folder / REPORT_HTML).write_text(page_of(run, document), encoding="utf-8")
    return run


async def _find_out(
    view: OperatorView, folder: Path, facts: RunFacts, before: Mapping[str, Mapping[str, Any]] | None
) -> Found:
    path = Path(facts.accounts)
    accounts = read_accounts(path)
    if before is None:
        before = await summaries_of(view, await view.cells())
    audit = await audit_orders(facts.router_url, accounts.accounts, read_journal(folder), facts.run, facts.opened_at_s)
    write_accounts(path, accounts)  # tokens were renewed
    books = await prove_books(view, before)
    return Found(audit, books, {"cells": len(before), **_machine()})


def _machine() -> dict[str, object]:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "load average after the run (1, 5, 15 min)": load,
        "python": platform.python_version(),
        "generator and cells": "share this machine",
    }
