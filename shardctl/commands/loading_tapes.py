"""`shardctl exchange load-tape`: a recorded tape for the exchange of this stack."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Reason
from shardctl.errors import Refused
from shardctl.exchange_admin import open_exchange_admin
from shardctl.operator_tokens import Purpose
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack


def load_tape(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LOBSTER message file.", exists=True, dir_okay=False)],
    symbol: Annotated[str, typer.Option(help="The symbol that the tape is played on.")],
    run: Annotated[str, typer.Option(help="Name of the tape. Orders refer to it by client_order_id: RUN-<tape id>.")],
    waits_for_replace: Annotated[
        bool,
        typer.Option(help="Rows after a partial cancellation (type 2) wait until the order is replaced."),
    ] = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Load a recorded tape into the exchange; each of its orders then gets exactly its own executions. Exit code 1: the
    file cannot be read, or its name stands for another tape."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    tape = asyncio.run(_load(content, symbol, run, waits_for_replace, reason))
    if as_json:
        print_json(tape)
        return
    print_line(
        f"{tape['symbol']} run {tape['run']}: "
        f"{tape['orders']} orders, {tape['fills']} executions in {tape['rows']} rows"
        f"{'' if tape['new'] else ' (was loaded before)'}",
    )
    print_table(("rows by kind", ">"), [(name.replace("_", " "), count) for name, count in tape["counts"].items()])


async def _load(content: bytes, symbol: str, run: str, waits_for_replace: bool, reason: str | None) -> dict[str, Any]:
    stack = open_stack()
    act = recorded_act(stack, "exchange.load_tape", symbol, reason=reason, arguments={"run": run})
    purpose = Purpose("load_tape", symbol, Role.OPERATOR, reason)
    async with act, open_exchange_admin(stack, purpose) as admin:
        return await admin.load_tape(content, symbol=symbol, run=run, waits_for_replace=waits_for_replace)
