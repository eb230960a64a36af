"""What is offered at the cursor: words of the table, options, values, and names of the stack that the line means."""

from collections.abc import Sequence

import pytest

from shardctl.commands.tree import completion_table, walk
from shardctl.completion.answer import TABLE, Asked, Offer, complete, read_table
from shardctl.completion.names import KINDS

ENTRIES = read_table()
FREE = {
    "add", "archive", "reconcile", "rotate", "show", "load-tape", "verify", "approve", "refuse", "locate",
    "set-profile", "unrestrict", "revoke", "retry-report", "export", "release-users", "move", "hold", "unhold",
    "history",
}  # fmt: skip
"""Commands with an argument that is no name of anything we list."""


def names(asked: Asked) -> Sequence[Offer]:
    """Tells which were asked for."""
    return [(f"{asked.kind}-{asked.stack}-{asked.context}", "")]


def offered(line: str) -> list[str]:
    *before, incomplete = line.split(" ")
    return [word for word, _ in complete(ENTRIES, before, incomplete, names)]


def test_the_table_is_what_the_commands_declare() -> None:
    assert completion_table() == TABLE.read_text(), (
        "commands changed: .venv/bin/shardctl completion-table > /tmp/t && mv /tmp/t shardctl/completion/table.jsonl"
    )


def test_every_name_is_of_a_kind_that_can_be_found() -> None:
    for entry in ENTRIES:
        for values in (*entry.arguments, *(option.values for option in entry.options)):
            assert values is None or isinstance(values, tuple) or values in KINDS, entry.words
        if None in entry.arguments and entry.words[-1] not in FREE:
            raise AssertionError(f"{' '.join(entry.words)}: is its argument a name (`commands/tree.py`), or free?")
    assert {" ".join(entry.words) for entry in ENTRIES[1:]} == {leaf.name for leaf in walk() if not leaf.is_hidden}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ce", ["cells"]),
        ("cells uncor", ["uncordon"]),
        ("cells cordon ", ["cells--"]),
        ("cells cordon cells", ["cells--"]),
        ("cells cordon x", []),
        ("cells cordon cell-1 --rea", ["--reason"]),
        ("cells cordon --reason slow cell", ["cells--"]),
        ("cells cordon --reason=slow cell", ["cells--"]),
        ("cells cordon -- cell", ["cells--"]),
        ("operations watch ", ["operations--"]),
        ("logs ", ["processes--"]),
        ("routers restart ", ["routers--"]),
        ("context use ", ["contexts--"]),
        ("--stack ", ["stacks--"]),
        ("--context=con", ["--context=contexts--"]),
        ("--stack mine cells cordon ", ["cells-mine-"]),
        ("--context=prod cells cordon ", ["cells--prod"]),
        ("up --profile pro", ["production"]),
        ("up --market-hours ", ["always", "XNYS"]),
        ("keys rotate ", ["customer", "route", "operator", "cell"]),
        ("status -o j", ["json"]),
        ("operations list --kind cells.a", ["cells.add", "cells.archive"]),
        ("nonsense ", []),
        ("cells nonsense x ", []),
        ("--vers", ["--version"]),
        ("exchange load-tape ", []),
    ],
)
def test_what_fits_at_the_cursor(line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_nothing_is_offered_that_is_for_a_back_end() -> None:
    assert "serve" not in offered("")
    assert {"cells", "up", "context"} <= set(offered(""))
    assert offered("down ")[0].startswith("--")
