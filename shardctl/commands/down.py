"""`shardctl down`: stop the stack."""

from typing import Annotated

import typer

from infra.backends.backend import Backend
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Reason
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line
from shardctl.progress import shown_progress
from shardctl.prompts import confirm_by_name
from shardctl.stack.current import forget_backend, open_backend
from shardctl.stack.noted_names import forget_noted_names
from shardctl.stack.stop import stop_stack


def down(
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Remove everything the stack stored.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Stop the stack; its data stays unless --delete-data is given. Also ends what a killed supervisor left behind."""
    backend = open_backend()
    if not backend.exists():
        _say_down(backend, "absent", f"there is no stack {backend.stack}; nothing to stop", as_json=as_json)
        return
    if not delete_data:
        with shown_progress("stopping", quiet=as_json) as report:
            run_resumable(stop_stack(open_backend(report), reason), resume="shardctl down")
        said = f"stack {backend.stack} is stopped; its data is kept in {backend.location}"
        _say_down(backend, "stopped", said, as_json=as_json)
        return
    confirm_by_name(backend.stack, f"remove every byte of the stack {backend.stack}", yes=yes)
    with shown_progress("removing", quiet=as_json) as report:
        run_resumable(_destroy(open_backend(report)), resume="shardctl down --delete-data")
    forget_backend()
    forget_noted_names()
    _say_down(backend, "gone", f"stack {backend.stack} and its data are gone", as_json=as_json)


def _say_down(backend: Backend, state: str, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stack": backend.stack, "state": state, "location": backend.location})
    else:
        print_line(said)


async def _destroy(backend: Backend) -> None:
    async with backend.lock():
        await backend.destroy()
