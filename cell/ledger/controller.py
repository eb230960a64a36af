"""`/v1/ledger`: the customer's own journal, hash chain included, so that they can verify it themselves."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from cell.caller import Caller, Moment, format_time
from cell.ledger.queries import list_entries
from cell.money import Amount, format_micros
from cell.openapi import LIST, Described, answers
from cell.paging import parse_page, view_rows
from infra.runtime.database import Pool


class PostingView(msgspec.Struct, omit_defaults=True):
    """One line; either `debit` or `credit` is present."""

    account: str
    unit: str
    debit: Amount | None = None
    credit: Amount | None = None


class EntryView(msgspec.Struct):
    entry_id: UUID
    seq: int
    kind: str
    order_id: UUID | None
    occurred_at: Moment
    postings: list[PostingView]
    hash: str
    previous_hash: str


class EntryPage(msgspec.Struct):
    items: list[EntryView]
    next_page_token: str | None


def _posting_view(account: str, unit: str, direction: str, amount_micros: int) -> PostingView:
    amount = format_micros(amount_micros)
    return (
        PostingView(account, unit, amount, None) if direction == "debit" else PostingView(account, unit, None, amount)
    )


def _entry_view(row: Mapping[str, Any]) -> EntryView:
    return EntryView(
        entry_id=row["entry_id"],
        seq=row["seq"],
        kind=row["kind"],
        order_id=row["order_id"],
        occurred_at=format_time(row["occurred_at"]),
        postings=[_posting_view(*line) for line in row["postings"]],
        hash=row["hash"].hex(),
        previous_hash=row["previous_hash"].hex(),
    )


class LedgerController(Controller):
    path = "/v1/ledger"
    tags = ("ledger",)

    @get(
        "/",
        summary="Journal entries, newest first",
        operation_class=Described,
        responses=answers(EntryPage, LIST, s200="a page of entries"),
    )
    async def entries(
        self,
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> EntryPage:
        page = parse_page(limit, page_token, direction)
        rows = await list_entries(
            pool, caller.user_id, after=page.after_number(), descending=page.descending, limit=page.rows_to_read
        )
        shown, token = page.cut(rows, itemgetter("seq"))
        return EntryPage(await view_rows(shown, _entry_view), token)
