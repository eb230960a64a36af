"""All commands say the same things in the same words: flags, their help, and an example that works.

A new command fails here until somebody has said what it is.
"""

import ast
import shlex
from pathlib import Path

import pytest

from shardctl import commands
from shardctl.commands.tree import Leaf, walk
from shardctl.examples import EXAMPLES

OPERATIONS = {
    "backup rehearse", "cells add", "cells archive", "cells reconcile", "keys rotate", "routers restart", "users move",
    "users move-back",
}  # fmt: skip
"""Submitted to the control service, and watched."""
ACTS = {
    "up", "down", "cells cordon", "cells uncordon", "cells retry-report", "cells unfence", "cells release-users",
    "backup create",
    "backup prune", "backup restore", "map publish", "users set-profile", "users unrestrict", "users revoke",
    "users hold", "users unhold", "transfers approve", "transfers refuse", "operations cancel", "operations resume",
    "operations approve", "exchange load-tape",
}  # fmt: skip
"""They change a stack, done here and now; somebody asks later why."""
OF_THE_PERSON = {"context use", "context add", "context remove", "login", "logout"}
"""They change a file of the person who runs the command, and nobody else's business."""
LINES = {"logs"}
"""Shows lines as processes wrote them, which are JSON already."""

FLAGS_OF_OPERATIONS = ("--reason", "--json", "--dry-run", "--no-wait", "--timeout", "--idempotency-key", "--expect")
HELP_BEGINS = {
    "--json": ("Print ", "The same as -o json"),
    "--reason": ("Why; kept with your name",),
    "--yes": ("Do not ask.",),
    "--dry-run": ("Show ",),
    "--timeout": ("Seconds to wait for its end; then it goes on (8).",),
    "--idempotency-key": ("The same key and request again is the same operation.",),
    "--expect": ("The hash that --dry-run showed",),
    "--limit": ("How many of the ", "Stop after this many"),
    "--follow": ("Keep printing new ",),
}
LEAVES = [leaf for leaf in walk() if not leaf.is_hidden]


def named(names: set[str]) -> list[Leaf]:
    found = [leaf for leaf in LEAVES if leaf.name in names]
    assert {leaf.name for leaf in found} == names
    return found


def test_who_submits_an_operation_is_known() -> None:
    """By the source: whoever calls `submit` can be planned, watched and come back to."""
    submitting = set()
    for path in Path(commands.__file__).parent.glob("*.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef):
                called = {getattr(node.func, "id", "") for node in ast.walk(function) if isinstance(node, ast.Call)}
                if called & {"submit", "submit_and_watch"} and path.stem != "submitting":
                    submitting.add(function.name.rstrip("_"))
    assert submitting == {name.split()[-1].replace("-", "_") for name in OPERATIONS} | {"up"}


@pytest.mark.parametrize("leaf", named(OPERATIONS), ids=lambda leaf: leaf.name)
def test_an_operation_is_planned_explained_and_waited_for(leaf: Leaf) -> None:
    assert not set(FLAGS_OF_OPERATIONS) - set(leaf.options)


@pytest.mark.parametrize("leaf", named(ACTS), ids=lambda leaf: leaf.name)
def test_whoever_changes_a_stack_may_say_why(leaf: Leaf) -> None:
    assert "--reason" in leaf.options


def test_who_changes_nothing_is_not_asked_why() -> None:
    reading = {leaf.name for leaf in LEAVES} - OPERATIONS - ACTS - OF_THE_PERSON
    assert not {leaf.name for leaf in LEAVES if leaf.name in reading and "--reason" in leaf.options}
    for name in OPERATIONS | {"up"}:
        assert "--dry-run" in named({name})[0].options


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)
def test_every_command_speaks_to_programs_too(leaf: Leaf) -> None:
    assert ("--json" in leaf.options) == (leaf.name not in LINES)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)
def test_the_same_flag_has_the_same_words(leaf: Leaf) -> None:
    for spelling, begins in HELP_BEGINS.items():
        if spelling in leaf.options:
            assert leaf.options[spelling].help.startswith(begins), spelling
    for parameter in leaf.command.params:
        assert parameter.help, f"{leaf.name} {parameter.name}"
        if parameter.name == "cell" and parameter.param_type_name == "argument":
            assert parameter.help.startswith("Name of a cell, as cell-1")


def test_every_command_has_an_example_and_every_example_a_command() -> None:
    assert set(EXAMPLES) == {leaf.name for leaf in LEAVES}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)
def test_an_example_is_understood(leaf: Leaf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "messages.csv").write_text("")
    words = shlex.split(EXAMPLES[leaf.name])
    depth = len(leaf.words)
    assert tuple(words[:depth]) == leaf.words
    leaf.command.make_context(leaf.name, words[depth:])
