"""`shardctl doctor`: what is wrong with machine and stack, and the command that mends it."""

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from infra.backends.finding import Finding, Verdict
from shardctl.commands.options import AsJson
from shardctl.errors import Refused
from shardctl.output import console, print_json, print_line
from shardctl.stack.current import open_backend
from shardctl.stack.doctor import examine

_MARKS = {Verdict.GOOD: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.BAD: ("✗", "bold red")}


def doctor(
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Run every cell's ledger checks too; reads whole tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine machine and stack; each finding names the command that mends it. Exit code 1: something is wrong."""
    findings = asyncio.run(_examine(ledger=ledger, show=not as_json))
    if as_json:
        print_json(findings)
    wrong = [finding for finding in findings if finding.verdict is Verdict.BAD]
    if wrong:
        raise Refused(f"{len(wrong)} of {len(findings)} checks found something")


async def _examine(*, ledger: bool, show: bool) -> list[Finding]:
    findings = []
    async for finding in examine(open_backend(), ledger=ledger):
        findings.append(finding)
        if show:
            _print(finding)
    return findings


def _print(finding: Finding) -> None:
    line = Text.assemble(_MARKS[finding.verdict], f" {finding.check}: {finding.detail}")
    console.print(line, highlight=False, soft_wrap=True)
    if finding.verdict is not Verdict.GOOD:
        print_line(f"    likely: {finding.cause}")
        console.print(Text.assemble("    fix: ", (finding.fix, "bold")), highlight=False, soft_wrap=True)
