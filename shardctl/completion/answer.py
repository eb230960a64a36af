"""What may stand at the cursor of a command line: words of the table of commands, and names. Pure.

The table (`table.jsonl`) has one line for each command: its words, what it does, its options and its arguments. It
is made from the commands (`shardctl completion-table`), because importing them takes a second of processor time; a
test compares the two.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_name("table.jsonl")

Values = str | tuple[str, ...] | None
"""What an option or argument takes: a kind of names (`names.py`), the words themselves, or anything."""
Offer = tuple[str, str]
"""A word, and what it does."""


@dataclass(frozen=True, slots=True)
class Option:
    spellings: tuple[str, ...]
    takes_value: bool
    values: Values


@dataclass(frozen=True, slots=True)
class Entry:
    """One command; that of no words is `shardctl` itself, which has options only."""

    words: tuple[str, ...]
    help: str
    """Its first sentence."""
    options: tuple[Option, ...]
    arguments: tuple[Values, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which names are wanted, of which stack or context; empty where the line does not say."""

    kind: str
    stack: str = ""
    context: str = ""


def read_table(path: Path = TABLE) -> tuple[Entry, ...]:
    return tuple(_entry(json.loads(line)) for line in path.read_text().splitlines())


def write_table(entries: Sequence[Entry]) -> str:
    """A line for each, so that two changes seldom meet in one."""
    lines = []
    for entry in entries:
        options = [[list(one.spellings), one.takes_value, one.values] for one in entry.options]
        lines.append(json.dumps([" ".join(entry.words), entry.help, options, entry.arguments], ensure_ascii=False))
    return "\n".join(lines) + "\n"


def complete(
    table: Sequence[Entry], before: Sequence[str], incomplete: str, names: Callable[[Asked], Sequence[Offer]]
) -> list[Offer]:
    """The words that fit at the cursor. `before`: those before it, without `shardctl` itself."""
    line = _read(table, before)
    if line.wants is not None:
        return _fitting(_offers(line.wants.values, line, names), incomplete)
    if incomplete.startswith("-") and not line.only_arguments:
        spelled, equals, begun = incomplete.partition("=")
        option = _option(line.entry, spelled)
        if equals and option is not None:
            return [(f"{spelled}={word}", said) for word, said in _fitting(_offers(option.values, line, names), begun)]
        return _fitting(_options(line.entry), incomplete)
    if line.below:
        return _fitting(line.below.items(), incomplete)
    if line.entry is None:
        return []
    if line.arguments < len(line.entry.arguments):
        return _fitting(_offers(line.entry.arguments[line.arguments], line, names), incomplete)
    return _fitting(_options(line.entry), incomplete)


@dataclass
class _Line:
    """A command line as far as it was read."""

    entry: Entry | None
    below: dict[str, str]
    """Words that may follow, and their help: of a group, or of `shardctl`."""
    wants: Option | None = None
    """The option whose value stands at the cursor."""
    arguments: int = 0
    only_arguments: bool = False
    stack: str = ""
    context: str = ""


def _read(table: Sequence[Entry], words: Sequence[str]) -> _Line:
    top = next((entry for entry in table if not entry.words), None)
    line, path = _Line(top, _below(table, ())), tuple[str, ...]()
    for word in words:
        if line.wants is not None:
            _note(line, line.wants, word)
            line.wants = None
        elif line.only_arguments or not word.startswith("-"):
            if word in line.below:
                path = (*path, word)
                line.below = _below(table, path)
                line.entry = next((entry for entry in table if entry.words == path), None)
            elif line.below:
                return _Line(None, {})  # a word that no command has
            else:
                line.arguments += 1
        elif word == "--":
            line.only_arguments = True
        else:
            spelled, equals, value = word.partition("=")
            option = _option(line.entry, spelled)
            if option is not None and equals:
                _note(line, option, value)
            elif option is not None and option.takes_value:
                line.wants = option
    return line


def _note(line: _Line, option: Option, value: str) -> None:
    if "--stack" in option.spellings:
        line.stack = value
    elif "--context" in option.spellings:
        line.context = value


def _below(table: Sequence[Entry], path: tuple[str, ...]) -> dict[str, str]:
    depth = len(path)
    found: dict[str, str] = {}
    for entry in table:
        if entry.words[:depth] == path and len(entry.words) > depth:
            found.setdefault(entry.words[depth], entry.help if len(entry.words) == depth + 1 else "")
    return found


def _option(entry: Entry | None, spelled: str) -> Option | None:
    return next((one for one in entry.options if spelled in one.spellings), None) if entry else None


def _options(entry: Entry | None) -> list[Offer]:
    """By their long spellings; a short one is no shorter than the key that completes."""
    options = entry.options if entry else ()
    return [(spelling, "") for one in options for spelling in one.spellings if spelling.startswith("--")]


def _offers(values: Values, line: _Line, names: Callable[[Asked], Sequence[Offer]]) -> Sequence[Offer]:
    if values is None:
        return ()
    if isinstance(values, str):
        return names(Asked(values, line.stack, line.context))
    return [(value, "") for value in values]


def _fitting(offers: Any, incomplete: str) -> list[Offer]:
    return [(word, said) for word, said in offers if word.startswith(incomplete)]


def _entry(row: Sequence[Any]) -> Entry:
    words, said, options, arguments = row
    return Entry(
        tuple(words.split()),
        said,
        tuple(Option(tuple(spellings), takes, _values(values)) for spellings, takes, values in options),
        tuple(_values(values) for values in arguments),
    )


def _values(told: Any) -> Values:
    return tuple(told) if isinstance(told, list) else told
