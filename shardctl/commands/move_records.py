"""`shardctl users hold | unhold | history | receipt | verify`: who may not move, what moves there were, and proofs."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from infra.backends.backend import Backend
from infra.security.roles import Role
from infra.security.signed_document import DocumentRefused
from shardctl.cell_admin import open_cell_admin
from shardctl.commands.options import AsJson, UserName
from shardctl.errors import Refused, UsageError
from shardctl.moves.history import ProvenReceipt, history_of, receipts_of
from shardctl.moves.holds import HoldChange, hold_user, unhold_user
from shardctl.moves.offline import verify_files
from shardctl.operator_tokens import Purpose
from shardctl.output import print_json, print_line, print_table
from shardctl.shardmap.locate import locate_user, require_cell
from shardctl.stack.current import open_stack

Reason = Annotated[str, typer.Option(help="Why; kept with your name in `shardctl audit list`.")]
_ATTEST_S = 300.0
"""All rows of one user are read and digested, archive included."""


def hold(user: UserName, reason: Reason, as_json: AsJson = False) -> None:
    """Keep a user in their cell (a legal hold): they trade as ever and are not moved. Harmless to repeat."""
    _changed(asyncio.run(hold_user(open_stack(), user, reason)), as_json=as_json)


def unhold(user: UserName, reason: Reason, as_json: AsJson = False) -> None:
    """Let a held user be moved again. Harmless to repeat."""
    _changed(asyncio.run(unhold_user(open_stack(), user, reason)), as_json=as_json)


def history(user: UserName, as_json: AsJson = False) -> None:
    """Where a user has been, newest move first: when, by whom, why, how long the pause was; and a hold."""
    found = asyncio.run(history_of(open_stack(), user))
    if as_json:
        print_json(
            {
                "user_id": found.located.user_id,
                "cell": found.located.cell,
                "hold": found.hold,
                "moves": [{**asdict(move), "receipt": None} for move in found.moves],
            }
        )
        return
    print_line(f"{found.located.user_id} is in {found.located.cell or 'no cell'}")
    if found.hold:
        print_line(
            f"held since {found.hold.held_at:%Y-%m-%d} by {found.hold.actor}: {found.hold.reason}", style="yellow"
        )
    rows = [
        (
            move.recorded_at.isoformat(sep=" ", timespec="seconds"), move.from_cell, move.to_cell, move.ownership_epoch,
            _ms(move.pause_us), move.operation_id, move.actor, move.reason,
        )
        for move in found.moves
    ]  # fmt: skip
    print_table(("at", "from", "to", "ownership epoch>", "pause>", "operation>", "by", "reason"), rows)


def receipt(
    number: Annotated[int | None, typer.Argument(metavar="OPERATION", help="The number of a users.move.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only this one: a user id or an email.")] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Verify receipts from a file; no stack is asked.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="Public keys, from `shardctl keys public --json`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The signed receipts of a move, verified; or receipts of any time with public keys alone (--verify, --keys).

    Exit code 1: one of them is not what it says. With --json the whole texts, for the file that --verify reads.
    """
    if verify is not None:
        if number is not None or user is not None or keys is None:
            raise UsageError("--verify FILE stands with --keys FILE and nothing else")
        _show_receipts(verify_files(verify, keys), as_json=as_json)
        return
    if number is None or keys is not None:
        raise UsageError("name an operation, or give --verify FILE --keys FILE")
    try:
        found = asyncio.run(_receipts(open_stack(), number, user))
    except DocumentRefused as error:
        raise Refused(f"a receipt of operation {number} proves nothing: {error}") from error
    _show_receipts(found, as_json=as_json)


def verify(user: UserName, as_json: AsJson = False) -> None:
    """Attest one user in their cell: rows and digest of each table, the chain's head, every check. Exit code 1: a
    check found something."""
    cell, found = asyncio.run(_attest(open_stack(), user))
    if as_json:
        print_json({"cell": cell, **found})
    else:
        rows = [(table, each["rows"], each["digest"]) for table, each in sorted(found["tables"].items())]
        print_table(("table", "rows>", "digest"), rows, title=f"{user} in {cell}")
        plain = [(name, value) for name, value in found["head"].items() if not isinstance(value, list | dict)]
        print_table(("head", ""), plain)
    wrong = {check: number for check, number in found["findings"].items() if number != 0}
    if wrong:
        said = ", ".join(f"{check} {number}" for check, number in wrong.items())
        raise Refused(f"{user}: {said}: `shardctl cells check {cell} --json`")
    if not as_json:
        print_line(f"{len(found['findings'])} checks found nothing")


async def _receipts(backend: Backend, number: int, user: str | None) -> list[ProvenReceipt]:
    of: UUID | None = None if user is None else (await locate_user(backend, user)).user_id
    return await receipts_of(backend, number, of)


async def _attest(backend: Backend, user: str) -> tuple[str, dict[str, Any]]:
    located = await locate_user(backend, user)
    cell = require_cell(located)
    async with open_cell_admin(backend, Purpose("attest", str(located.user_id), Role.VIEWER)) as admin:
        path = f"/operator/v1/users/{located.user_id}/attest"
        return cell, await admin.call(cell, "POST", path, {}, timeout_s=_ATTEST_S)


def _changed(change: HoldChange, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(change))
        return
    words = "is held: they trade and are not moved" if change.held else "may be moved again"
    print_line(f"{change.user_id} {words}" if change.changed else f"{change.user_id}: nothing was changed")


def _show_receipts(found: Sequence[ProvenReceipt], *, as_json: bool) -> None:
    if as_json:
        print_json([{"user_id": each.claims["user_id"], "claims": each.claims, "receipt": each.text} for each in found])
        return
    for each in found:
        print_table(("", ""), receipt_rows(each))
    print_line(f"{len(found)} verified: signed by the control service, and by the cell that each user left")


def receipt_rows(proven: ProvenReceipt) -> list[tuple[str, object]]:
    """What a person reads of one. Pure."""
    claims, certificate = proven.claims, proven.certificate
    tables = claims["copied"]["tables"]
    return [
        ("user", claims["user_id"]),
        ("moved", f"{claims['from_cell']} to {claims['to_cell']}, operation {claims['operation_id']}"),
        ("by", f"{claims['actor']}: {claims['reason']}"),
        ("left at", certificate.departed_at.isoformat(sep=" ", timespec="milliseconds")),
        ("pause", _ms(claims["pause_us"]) or "not known: the mover was killed in it"),
        ("ownership epoch", claims["ownership_epoch"]),
        (
            "last write, entry, order event",
            f"{certificate.write_seq}, {certificate.entry_seq}, {certificate.order_event_seq}",
        ),
        ("chain head", certificate.chain_head),
        ("attested by both", f"{sum(each['rows'] for each in tables.values()):,} rows in {len(tables)} tables"),
    ]


def _ms(pause_us: int | None) -> str:
    return "" if pause_us is None else f"{pause_us / 1_000:.1f} ms"
