"""`shardctl config show`: the settings of the command, or of a process of the stack, and where each comes from."""

import asyncio
import os
from dataclasses import asdict
from typing import Annotated

import typer

from infra.backends.checkout import project_root
from infra.backends.preview import masked
from shardctl.context_file import context_path
from shardctl.contexts import OnThisMachine
from shardctl.errors import Refused
from shardctl.output import print_json, print_line, print_table
from shardctl.settings import PROJECT_FILE, read_settings
from shardctl.stack.current import open_backend, open_stack
from shardctl.stack.origins import SettingRow, setting_rows


def show(
    process: Annotated[
        str | None, typer.Argument(help="A process of `shardctl status`; by default the command itself.")
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Also where each setting comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; it has the origins.")] = False,
) -> None:
    """Every setting that the command uses, or that `up` gives to a process. Secrets are masked."""
    rows = _own() if process is None else asyncio.run(_of_process(process))
    if as_json:
        print_json({"process": process, "settings": [asdict(row) for row in rows]})
        return
    columns = ("setting", "value", "origin") if origin else ("setting", "value")
    print_table(columns, [(row.name, row.value, row.origin)[: len(columns)] for row in rows])
    for row in rows:
        if row.runs_with is not None:
            print_line(f"{process} still runs with {row.name} {row.runs_with}: `shardctl up` renews it", style="yellow")
    if process is None and origin:
        print_line(f"files: {project_root() / PROJECT_FILE}, {context_path(os.environ)}")


def _own() -> list[SettingRow]:
    settings = read_settings()
    rows = [SettingRow("context", settings.context.value or "(none)", settings.context.origin)]
    for name, found in settings.values.items():
        rows.append(SettingRow(name, masked(name, found.value) or "(where the stack was made)", found.origin))
    if isinstance(settings.target, OnThisMachine):
        outside = open_backend().external_servers()
        rows += [SettingRow(name, masked(name, value), f"{name}, for a new stack") for name, value in outside.items()]
    return rows


async def _of_process(name: str) -> list[SettingRow]:
    backend = open_stack()
    planned = {process.name: process for process in await backend.plan()}
    if name not in planned:
        raise Refused(f"there is no process {name}; there are: {', '.join(planned)}")
    if not planned[name].environment:
        raise Refused(f"{name} is a server that others wrote: it has no settings of ours, `shardctl logs {name}`")
    return setting_rows(backend.spec(), planned[name], await backend.given_settings(name))
