"""`shardctl context ...`: list, use, add, remove, show."""

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from shardctl.commands.options import AsJson
from shardctl.context_file import change_contexts, context_path, read_contexts
from shardctl.contexts import CHECKOUT, Context, Elsewhere, OnThisMachine, with_context, with_current, without_context
from shardctl.errors import UsageError
from shardctl.output import print_json, print_line, print_table
from shardctl.settings import read_settings

ContextName = Annotated[str, typer.Argument(metavar="CONTEXT", help="A name of `shardctl context list`.")]


def list_(as_json: AsJson = False) -> None:
    """Every context, and which one commands without --context and --stack work on."""
    found = read_contexts(_path())
    settings = read_settings()
    rows = [_row(context, is_current=name == settings.context.value) for name, context in found.by_name.items()]
    if as_json:
        print_json(rows)
        return
    print_table(("", "context", "works on"), [("*" if row["current"] else "", row["name"], _said(row)) for row in rows])
    if not settings.context.value:
        stack = settings.values["stack"]
        print_line(f"now meant is none of them, but the stack {stack.value}: {stack.origin}", style="yellow")


def use(name: ContextName, as_json: AsJson = False) -> None:
    """Let commands work on this context from now on. `checkout` is the stack of the checkout that they run from."""
    change_contexts(_path(), lambda text, path: with_current(text, name, path))
    meant = read_settings().context
    if as_json:
        print_json(_meant())
        return
    print_line(f"{name} is the current context")
    if meant.value != name:
        print_line(f"but {meant.origin} still says otherwise: {meant.value or 'a stack'}", style="yellow")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower case letters, digits, dashes, at most 40.")],
    stack: Annotated[str, typer.Option("--stack-name", help="A stack of this machine.")] = "",
    state_dir: Annotated[str, typer.Option(help="The folder that its data lies in, as SHARDCTL_STATE_DIR.")] = "",
    backend: Annotated[str, typer.Option(help="Its back end, as SHARDCTL_BACKEND.")] = "",
    url: Annotated[str, typer.Option(help="A control service elsewhere, as https://control.example:8443.")] = "",
    issuer: Annotated[str, typer.Option(help="URL of the OIDC provider that knows its operators.")] = "",
    client_id: Annotated[str, typer.Option(help="Under which the provider knows this command.")] = "shardctl",
    audience: Annotated[str, typer.Option(help="For whom tokens must be; by default the URL.")] = "",
    as_json: AsJson = False,
) -> None:
    """Name a stack of this machine, or a control service elsewhere. It holds no secret."""
    if bool(url) == bool(stack or state_dir or backend):
        raise UsageError("a context is a stack of this machine (--stack-name) or a service elsewhere (--url): give one")
    target: OnThisMachine | Elsewhere = OnThisMachine(stack, state_dir, backend)
    if url:
        target = Elsewhere(url.rstrip("/"), issuer, client_id, audience or url.rstrip("/"))
    change_contexts(_path(), lambda text, path: with_context(text, Context(name, target), path))
    if as_json:
        print_json(_row(Context(name, target), is_current=False))
        return
    print_line(f"{name} is added: `shardctl context use {name}`, or --context {name} for one command")


def remove(name: ContextName, as_json: AsJson = False) -> None:
    """Forget a context. What it names is not touched."""
    was_current = read_contexts(_path()).current == name
    change_contexts(_path(), lambda text, path: without_context(text, name, path))
    if as_json:
        print_json({"removed": name, "current": read_contexts(_path()).current})
        return
    print_line(f"{name} is removed" + (f"; {CHECKOUT} is the current context" if was_current else ""))


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[CONTEXT]", help="By default the one that commands work on now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One context. Where each setting comes from says `shardctl config show --origin`."""
    row = _row(read_contexts(_path()).named(name), is_current=None) if name else _meant()
    if as_json:
        print_json(row)
        return
    print_table(("", ""), [(key.replace("_", " "), value) for key, value in row.items() if value not in (None, "")])


def _path() -> Path:
    return context_path(os.environ)


def _meant() -> dict[str, Any]:
    settings = read_settings()
    values = {name: found.value for name, found in settings.values.items()}
    return {"name": settings.context.value or None, **values}


def _row(context: Context, *, is_current: bool | None) -> dict[str, Any]:
    """With every field of both kinds, so that a program finds each in every row."""
    every = dict.fromkeys(part.name for kind in (OnThisMachine, Elsewhere) for part in fields(kind))
    given = {name: value or None for name, value in asdict(context.target).items()}
    return {"name": context.name, "current": is_current, **every, **given}


def _said(row: dict[str, Any]) -> str:
    if row["url"]:
        return f"the service at {row['url']}, as a person of {row['issuer']}"
    where = f" in {row['state_dir']}" if row["state_dir"] else ""
    how = f" on {row['backend']}" if row["backend"] else ""
    return f"the stack {row['stack'] or 'of this checkout'}{where}{how}"
