"""The protocol of completion, as the scripts of `shardctl --install-completion` speak it: bash, zsh, fish.

A shell runs the command with `_SHARDCTL_COMPLETE=complete_SHELL` and the line in other variables, and evaluates what is
printed. So nothing is printed but words that mean nothing to a shell, and whatever goes wrong prints nothing.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from shardctl.completion.answer import Offer, complete, read_table
from shardctl.completion.names import find_names


def answer(shell: str) -> int:
    """Print what may follow; the exit code."""
    try:
        before, incomplete = _line(shell, os.environ)
        offers = complete(read_table(), before, incomplete, find_names)
        text, exit_code = _FORMS[shell](offers, os.environ)
        sys.stdout.write(text)
        sys.stdout.flush()
    except Exception:  # a trace in the middle of a command line helps nobody
        return 1
    return exit_code


def _line(shell: str, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """The words before the cursor, without the command's own, and the one at it."""
    if shell == "bash":
        # One line per word would be safer, but the script is Typer's: it joins them by spaces. Bash takes `=` for a
        # word of its own.
        words, cursor = _split(environment["COMP_WORDS"]), int(environment["COMP_CWORD"])
        incomplete = words[cursor] if cursor < len(words) else ""
        before = [word for word in words[1:cursor] if word != "="]
        return before, "" if incomplete == "=" else incomplete
    text = environment.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(text)[1:]
    if words and not text.endswith(" "):
        return words[:-1], words[-1]
    return words, ""


def _split(text: str) -> list[str]:
    """As a shell does; of a line that is not finished, at spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _bash(offers: Sequence[Offer], _: Mapping[str, str]) -> tuple[str, int]:
    # What stands before an equals sign is a word of its own to bash, and stays.
    return "\n".join(word.partition("=")[2] or word for word, _ in offers), 0


def _zsh(offers: Sequence[Offer], _: Mapping[str, str]) -> tuple[str, int]:
    if not offers:
        return "_files", 0
    rows = [f'"{_escaped(word)}":"{_escaped(said)}"' if said else f'"{_escaped(word)}"' for word, said in offers]
    joined = "\n".join(rows)
    return f"_arguments '*: :(({joined}))'", 0


def _escaped(text: str) -> str:
    for character, instead in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", "\\\\:")):
        text = text.replace(character, instead)
    return " ".join(text.split())


def _fish(offers: Sequence[Offer], environment: Mapping[str, str]) -> tuple[str, int]:
    if environment.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return "", 0 if offers else 1
    return "\n".join(f"{word}\t{' '.join(said.split())}" if said else word for word, said in offers), 0


_FORMS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
