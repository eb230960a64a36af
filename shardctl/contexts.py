"""Contexts: names for what the command works on. A stack of this machine, or a control service elsewhere.

They stand in one file of the person who uses the command (`context_file.py`), written by `shardctl context` and by
hand. Pure: text in, values or the new text out. The text is edited, not written anew, so comments and order stay; an
edit whose result does not read as intended is refused. No context holds a secret.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from shardctl.errors import UsageError
from shardctl.safe_url import is_safe_url

CHECKOUT: Final = "checkout"
"""The context that nobody adds: the stack of the checkout that the command runs from."""
CONTEXTS_MAX: Final = 200
"""More than anybody can tell apart; a bound on what is read."""
_VALUE_MAX: Final = 1_000
"""Characters of one value: longer than any URL or path that is meant."""
_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
_CURRENT_LINE: Final = re.compile(r"^\s*current\s*=")
_TABLE_LINE: Final = re.compile(r"^\s*\[")
_CONTEXT_LINE: Final = re.compile(r"^\s*\[\s*contexts\s*\.\s*[\"']?(.+?)[\"']?\s*\]")
"""Where a context's table begins, and its name."""


class SettingsInvalid(UsageError):
    """A file of settings cannot be used; the text names path and line."""


@dataclass(frozen=True, slots=True)
class OnThisMachine:
    """A stack that was made here. Empty: as it is without a context."""

    stack: str = ""
    """Its name; empty: that of this checkout."""
    state_dir: str = ""
    """Folder of this user's stacks, absolute or with `~`."""
    backend: str = ""
    """Name in `infra.backends.catalog`."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A control service that is reached by its URL, as a person whom an OIDC provider knows."""

    url: str
    """`https://host[:port][/path]`, without a slash at the end; `http` only to this machine."""
    issuer: str
    """Of the provider, exactly as it stands in its tokens."""
    client_id: str
    """Under which the provider knows this command."""
    audience: str
    """For whom a token must be, as the service wants it."""


@dataclass(frozen=True, slots=True)
class Context:
    name: str
    target: OnThisMachine | Elsewhere


@dataclass(frozen=True, slots=True)
class Contexts:
    """What a file says. `checkout` is always there."""

    by_name: Mapping[str, Context]
    current: str = CHECKOUT
    lines: Mapping[str, int] = field(default_factory=dict)
    """Where a context begins; under `""`, where the current one is chosen. Counted from 1."""

    def named(self, name: str) -> Context:
        """Raises UsageError that names those that there are."""
        found = self.by_name.get(name)
        if found is None:
            raise UsageError(f"there is no context {name}; there are: {', '.join(sorted(self.by_name))}")
        return found


def check_context(context: Context) -> Context:
    """The same context, if it can be one. Raises UsageError that says which part cannot."""
    if not _NAME.match(context.name):
        raise UsageError(f"{context.name!r} is no name of a context: lower case letters, digits, dashes, at most 40")
    if context.name == CHECKOUT:
        raise UsageError(f"{CHECKOUT} is the stack of this checkout: choose another name")
    for name, value in asdict(context.target).items():
        _check_text(name, value)
    if isinstance(context.target, Elsewhere):
        _check_url("url", context.target.url)
        _check_url("issuer", context.target.issuer)
        for name in ("client_id", "audience"):
            if not getattr(context.target, name):
                raise UsageError(f"{name} is missing")
    else:
        check_stack_name(context.target.stack)
        _check_folder(context.target.state_dir)
    return context


def check_stack_name(name: str) -> None:
    """Raises UsageError; an empty one is that of this checkout."""
    if name and not _NAME.match(name):
        raise UsageError(f"{name!r} is not a stack name: lower case letters, digits and dashes, at most 40")


def parse_contexts(text: str, path: Path) -> Contexts:
    """What the file says. Raises SettingsInvalid with the path and the line."""
    document = parse_toml(text, path)
    tables = document.pop("contexts", {})
    current = document.pop("current", CHECKOUT)
    if document:
        name = next(iter(document))
        raise _invalid(path, line_of(text, "", name), f"{name} is no setting; a file of contexts has current, contexts")
    if not isinstance(tables, dict) or len(tables) > CONTEXTS_MAX:
        raise _invalid(path, 1, f"contexts are tables [contexts.NAME], at most {CONTEXTS_MAX}")
    found = {CHECKOUT: Context(CHECKOUT, OnThisMachine())}
    for name, table in tables.items():
        found[name] = _context(name, table, text, path)
    if not isinstance(current, str) or current not in found:
        raise _invalid(path, line_of(text, "", "current"), f"current = {current!r}, but there is no such context")
    begins = _table_lines(text)
    lines = {name: begins.get(name, 1) for name in tables} | {"": line_of(text, "", "current")}
    return Contexts(MappingProxyType(found), current, MappingProxyType(lines))


def with_current(text: str, name: str, path: Path) -> str:
    """The same file, in which that context is the current one. Raises UsageError."""
    before = parse_contexts(text, path)
    before.named(name)
    lines = _lines(text)
    where = _current_line(lines)
    kept = lines if where is None else [*lines[:where], *lines[where + 1 :]]
    at = where or 0
    chosen = [] if name == CHECKOUT else [f"current = {_quoted(name)}\n"]
    after = "".join([*kept[:at], *chosen, *kept[at:]])
    return _proven(after, Contexts(before.by_name, name), path)


def with_context(text: str, context: Context, path: Path) -> str:
    """The same file with one more context at its end. Raises UsageError, also if there is one of that name."""
    before = parse_contexts(text, path)
    check_context(context)
    if context.name in before.by_name:
        raise UsageError(f"there is a context {context.name} already: `shardctl context remove {context.name}` first")
    lines = [f"{name} = {_quoted(value)}\n" for name, value in asdict(context.target).items() if value]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    after = f"{text}{gap}[contexts.{context.name}]\n{''.join(lines)}"
    return _proven(after, Contexts({**before.by_name, context.name: context}, before.current), path)


def without_context(text: str, name: str, path: Path) -> str:
    """The same file without that context; if it was the current one, that is the checkout's stack again. Comments at
    its end stay: they belong to what follows. Raises UsageError."""
    if name == CHECKOUT:
        raise UsageError(f"{CHECKOUT} is the stack of this checkout: it is always there")
    before = parse_contexts(text, path)
    before.named(name)
    if before.current == name:
        text = with_current(text, CHECKOUT, path)
    lines = _lines(text)
    begin = line_of(text, name) - 1
    end = next((at for at in range(begin + 1, len(lines)) if _TABLE_LINE.match(lines[at])), len(lines))
    while end > begin + 1 and lines[end - 1].lstrip()[:1] in ("", "#"):
        end -= 1
    after = "".join([*lines[:begin], *lines[end:]])
    left = {known: context for known, context in before.by_name.items() if known != name}
    return _proven(after, Contexts(left, CHECKOUT if before.current == name else before.current), path)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Raises SettingsInvalid with the path and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        line = int(said[1]) if said else text.count("\n") + 1  # "(at end of document)"
        raise _invalid(path, line, str(error).removesuffix(said[0] if said else "").strip()) from error


def line_of(text: str, context: str, key: str = "") -> int:
    """Where a context's table begins, or a key of it; of no context: a key before all tables. Counted from 1, and 1 for
    what is written in a way that is not looked for."""
    inside = not context
    for number, line in enumerate(_lines(text), 1):
        if _TABLE_LINE.match(line):
            named = _CONTEXT_LINE.match(line)
            inside = named is not None and named[1] == context
            if inside and not key:
                return number
        elif inside and key and re.match(rf"^\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
            return number
    return 1


def _context(name: str, table: object, text: str, path: Path) -> Context:
    if not isinstance(table, dict):
        raise _invalid(path, line_of(text, name), f"contexts.{name} is no table")
    kind = Elsewhere if "url" in table else OnThisMachine
    known = tuple(part.name for part in fields(kind))
    for key, value in table.items():
        if key not in known:
            secret = "; a context holds no secret" if re.search("token|secret|password", key) else ""
            wanted = f"a context has {' or '.join(_shapes())}"
            raise _invalid(path, line_of(text, name, key), f"contexts.{name}.{key} is no setting: {wanted}{secret}")
        if not isinstance(value, str):
            raise _invalid(path, line_of(text, name, key), f"contexts.{name}.{key} is no text")
    if kind is Elsewhere and (missing := [key for key in known if key not in table]):
        raise _invalid(path, line_of(text, name), f"contexts.{name}: {', '.join(missing)} is missing")
    try:
        return check_context(Context(name, kind(**table)))
    except UsageError as error:
        raise _invalid(path, line_of(text, name), f"contexts.{name}: {error}") from error


def _shapes() -> tuple[str, ...]:
    return tuple(", ".join(part.name for part in fields(kind)) for kind in (OnThisMachine, Elsewhere))


def _check_text(name: str, value: str) -> None:
    if len(value) > _VALUE_MAX or not value.isprintable() or value != value.strip():
        raise UsageError(f"{name} has at most {_VALUE_MAX} printable characters and no space at its ends")


def _check_url(name: str, value: str) -> None:
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as error:
        raise UsageError(f"{name} {value!r} is no URL: {error}") from error
    if url.scheme not in ("https", "http") or not url.hostname or port == 0 or " " in value:
        raise UsageError(f"{name} {value!r} is no URL, as https://control.example:8443")
    if url.username is not None or url.password is not None:
        raise UsageError(f"{name} has a user or a password in it; a context holds no secret: `shardctl login`")
    if url.query or url.fragment or (name == "url" and value.endswith("/")):
        raise UsageError(f"{name} {value!r}: without a query, a fragment or a slash at the end")
    if not is_safe_url(value):
        raise UsageError(f"{name} {value!r}: http only to this machine, else https (who listens would have the token)")


def _check_folder(value: str) -> None:
    if value and not (Path(value).is_absolute() or value.startswith("~")):
        raise UsageError(f"state_dir {value!r}: an absolute folder, or one that begins with ~")


def _lines(text: str) -> list[str]:
    """With their ends. Only a line feed ends a line, as tomllib counts."""
    return list(StringIO(text, newline="\n"))


def _table_lines(text: str) -> dict[str, int]:
    """By context, where its table begins, counted from 1. One pass: each command and each press of a key reads it."""
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(text), 1):
        if named := _CONTEXT_LINE.match(line):
            found.setdefault(named[1], number)
    return found


def _current_line(lines: list[str]) -> int | None:
    for at, line in enumerate(lines):
        if _TABLE_LINE.match(line):
            return None
        if _CURRENT_LINE.match(line):
            return at
    return None


def _quoted(value: str) -> str:
    """A basic string of TOML: printable text needs the escapes of JSON."""
    return json.dumps(value, ensure_ascii=False)


def _proven(text: str, wanted: Contexts, path: Path) -> str:
    try:
        found: Contexts | None = parse_contexts(text, path)
    except SettingsInvalid:
        found = None
    if found is None or (dict(found.by_name), found.current) != (dict(wanted.by_name), wanted.current):
        raise SettingsInvalid(f"{path} is written in a way that this command cannot edit: change it by hand")
    return text


def _invalid(path: Path, line: int, what: str) -> SettingsInvalid:
    return SettingsInvalid(f"{path}:{line}: {what}")
