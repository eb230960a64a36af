"""`/v1/account` and `/v1/deposits`."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from msgspec import UNSET, Raw, UnsetType

from cell import errors
from cell.accounts.queries import find_account
from cell.caller import Answer, Caller, Moment, format_time, idempotency_key
from cell.commands.arguments import DepositArguments
from cell.commands.batcher import Batcher
from cell.commands.command import Command, CommandKind
from cell.commands.fingerprint import fingerprint
from cell.commands.outcome import settled
from cell.endpoint import IdempotencyKey, as_response
from cell.fields import parse_amount
from cell.money import AMOUNT_MAX_MICROS, MICROS, Amount, format_micros
from cell.openapi import READ, WRITE, Described, amount, answers, json_body
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.market_calendar import market_date
from infra.runtime.strict_body import check_content_type, decode_body


class AccountView(msgspec.Struct):
    user_id: UUID
    status: str
    restricted: bool
    profile: str
    cash: Amount
    cash_held: Amount
    unsettled: Amount
    buying_power: Amount
    withdrawable: Amount
    created_at: Moment


class DepositRequest(msgspec.Struct, forbid_unknown_fields=True):
    amount: Raw | UnsetType = UNSET


class DepositView(msgspec.Struct):
    deposit_id: UUID
    amount: Amount
    status: str
    created_at: Moment


_decoder = msgspec.json.Decoder(DepositRequest)


def deposit_fingerprint(amount_micros: int) -> bytes:
    return fingerprint("POST", "/v1/deposits", amount=amount_micros, joined=(amount_micros,))


async def deposit_cash(batcher: Batcher, caller: Caller, key: str, raw: bytes) -> Answer:
    """201 with the deposit, settled at once until ACH is built. Raises Problem."""
    body = decode_body(_decoder, raw)
    if body.amount is UNSET:
        raise errors.invalid_field(400, "amount", "missing")
    amount_micros = parse_amount("amount", bytes(body.amount), price=False, limit_micros=AMOUNT_MAX_MICROS)
    command = Command(
        CommandKind.DEPOSIT,
        caller.user_id,
        key,
        deposit_fingerprint(amount_micros),
        DepositArguments(amount_micros),
    )
    outcome = await settled(batcher, command)
    if outcome.outcome != "accepted":
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.resource_id is not None
    stored = (outcome.figures or {})["amount_micros"] if outcome.replayed else amount_micros
    if stored != amount_micros:
        raise errors.refusal("IDEMPOTENCY_KEY_REUSED", None)
    view = DepositView(outcome.resource_id, format_micros(stored), "settled", format_time(outcome.at))
    return Answer(201, msgspec.json.encode(view), replayed=outcome.replayed)


_DepositBody = json_body(
    {"amount": amount("dollars, at most six decimals", most=AMOUNT_MAX_MICROS // MICROS)},
    example={"amount": "1000.00"},
)


class AccountController(Controller):
    path = "/v1"
    tags = ("account",)

    @get(
        "/account",
        summary="Cash, holds and buying power",
        operation_class=Described,
        responses=answers(AccountView, READ, s200="the account"),
    )
    async def account(
        self, caller: NamedDependency[Caller], pool: NamedDependency[Pool], clock: NamedDependency[Clock]
    ) -> AccountView:
        row = await find_account(pool, caller.user_id, market_date(clock.now()))
        cash = row["cash_micros"]
        return AccountView(
            user_id=row["user_id"],
            status=row["owner_state"],
            restricted=row["restricted"],
            profile=row["profile"],
            cash=format_micros(cash),
            cash_held=format_micros(row["cash_held_micros"]),
            unsettled=format_micros(row["unsettled_micros"]),
            buying_power=format_micros(max(0, cash)),
            withdrawable=format_micros(max(0, cash - row["unsettled_micros"])),
            created_at=format_time(row["created_at"]),
        )

    @post(
        "/deposits",
        summary="Deposit cash",
        operation_class=_DepositBody,
        responses=answers(DepositView, WRITE, s201="the deposit, settled"),
    )
    async def deposit(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        return as_response(await deposit_cash(batcher, caller, key, await request.body()))
