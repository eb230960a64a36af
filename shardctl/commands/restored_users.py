"""`shardctl cells restored-users` and `release-users`: who stayed read-only after a restore, and the way back."""

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Annotated

import typer

from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from shardctl.backups.restored_users import HeldUser, list_held_users, release_users
from shardctl.commands.options import AsJson
from shardctl.errors import NotReachable, UsageError
from shardctl.events.reading import EventsExpired
from shardctl.output import print_json, print_line, print_table
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack

Cell = Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")]


def restored_users(cell: Cell, as_json: AsJson = False) -> None:
    """Users who stayed read-only when the restored cell was opened, and what is known elsewhere that its books lost."""
    with shown_progress("reading Kafka and the venue", quiet=as_json):
        held = _asked(list_held_users(open_stack(), cell))
    _show(held, as_json=as_json)


def release(
    cell: Cell,
    reason: Annotated[str, typer.Option(help="Why; kept with your name, also in the cell.")],
    users: Annotated[list[str] | None, typer.Argument(help="Ids of users, as `restored-users` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All who are read-only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let them write again, behind the numbers that are lost. Refused while the venue disagrees about their orders."""
    if every == bool(users):
        raise UsageError("name users, or give --all")
    with shown_progress("reading Kafka and the venue", quiet=as_json):
        released = _asked(release_users(open_stack(), cell, users or (), reason=reason))
    _show(released, as_json=as_json)
    if not as_json:
        print_line(f"{len(released)} users of {cell} write again")


def _asked(reading: Coroutine[None, None, list[HeldUser]]) -> list[HeldUser]:
    try:
        return asyncio.run(reading)
    except (TopicsMissing, BrokerUnreachable, EventsExpired) as error:
        raise NotReachable(f"Kafka cannot say what is lost: {error}: `shardctl status`") from error


def _show(users: list[HeldUser], *, as_json: bool) -> None:
    if as_json:
        print_json([{**asdict(user), "lost_events": user.lost_events} for user in users])
        return
    columns = ("user", "order events>", "in Kafka>", "ledger>", "in Kafka>", "orders differ>", "reports wait>")
    rows = [
        (
            user.user_id,
            user.orders_written,
            user.orders_known,
            user.ledger_written,
            user.ledger_known,
            user.venue_differences,
            user.reports_waiting,
        )
        for user in users
    ]
    print_table(columns, rows)
