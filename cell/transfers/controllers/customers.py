"""`/v1/share-transfers`: a customer brings shares from another broker, and sees how each transfer stands."""

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell.caller import Caller, idempotency_key
from cell.commands.batcher import Batcher
from cell.endpoint import IdempotencyKey, as_response
from cell.money import MICROS, PRICE_MAX_MICROS
from cell.openapi import LIST, READ, SYMBOL, WRITE, Described, amount, answers, json_body
from cell.paging import parse_page
from cell.transfers.bring import TransferView, transfer_shares
from cell.transfers.state import TransferPage, TransferState, read_transfer, read_transfers
from infra.runtime.database import Pool
from infra.runtime.strict_body import check_content_type

_TransferBody = json_body(
    {
        "symbol": SYMBOL,
        "qty": amount("shares, at most six decimals"),
        "unit_cost": amount("dollars paid per share, zero allowed", most=PRICE_MAX_MICROS // MICROS, zero_allowed=True),
    },
    example={"symbol": "AAPL", "qty": "10", "unit_cost": "95.20"},
)


class ShareTransfers(Controller):
    path = "/v1/share-transfers"
    tags = ("positions",)

    @post(
        "/",
        summary="Bring shares from another broker",
        operation_class=_TransferBody,
        responses=answers(TransferView, WRITE, s201="the transfer, accepted or pending"),
    )
    async def share_transfer(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        return as_response(await transfer_shares(batcher, caller, key, await request.body()))

    @get(
        "/",
        operation_id="list_share_transfers",
        summary="Shares brought from other brokers, and how each transfer stands",
        operation_class=Described,
        responses=answers(TransferPage, LIST, s200="a page of transfers, newest first"),
    )
    async def share_transfers(
        self,
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> TransferPage:
        return await read_transfers(pool, caller.user_id, parse_page(limit, page_token, direction))

    @get(
        "/{transfer_id:str}",
        operation_id="get_share_transfer",
        summary="A transfer, and how it stands",
        operation_class=Described,
        responses=answers(TransferState, READ, s200="the transfer"),
    )
    async def share_transfer_state(
        self, transfer_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> TransferState:
        return await read_transfer(pool, caller.user_id, transfer_id)
