"""What operators may ask of the exchange. Every route needs an operator token; health and metrics are elsewhere."""

import logging
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Response
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from exchange.admin_verbs import AdminVerbs
from exchange.errors import ExchangeError, InvalidField, TapeInvalid
from exchange.faults import Faults
from exchange.live_order import ENDED
from exchange.log_rows import TradedOrder
from infra.runtime.operator_api import subject_of
from infra.runtime.problem import Problem
from infra.runtime.strict_body import read_body

ORDERS_MAX: Final = 1_000
"""Orders on a page, or named in one request: about 200 KB of JSON."""


class FaultsRequest(Faults, frozen=True, forbid_unknown_fields=True):
    """The faults to switch on (all others go off), and one that happens at once."""

    unknown_fill: bool = False


_log = logging.getLogger(__name__)
_faults_decoder = msgspec.json.Decoder(FaultsRequest)


def as_problem(error: ExchangeError) -> Problem:
    """The refusal as the operator reads it."""
    if isinstance(error, TapeInvalid):
        return Problem(error.status_code, error.code, str(error), line=error.line, reason=error.reason)
    if isinstance(error, InvalidField):
        return Problem(error.status_code, error.code, str(error), field=error.field)
    return Problem(error.status_code, error.code, str(error))


class TapeController(Controller):
    """Recorded tapes."""

    path = "/operator/v1/tapes"

    @post(status_code=HTTP_201_CREATED)
    async def load_tape(
        self,
        request: Request[Any, Any, Any],
        verbs: NamedDependency[AdminVerbs],
        symbol: FromQuery[str],
        run: FromQuery[str],
        waits_for_replace: FromQuery[bool] = False,
    ) -> Response[dict[str, object]]:
        """201 for a new tape, 200 for one that is here already. Raises 409 for other
        content of that name, 422."""
        content = await _tape_content(request)
        try:
            tape, is_new = await verbs.load_tape(content, symbol=symbol, run=run, waits_for_replace=waits_for_replace)
        except ExchangeError as error:
            raise as_problem(error) from error
        _log.info(
            "an operator loaded a tape",
            extra={"operator": subject_of(request), "symbol": symbol, "run": run, "new": is_new},
        )
        facts = next(row for row in verbs.tapes() if row["symbol"] == tape.symbol and row["run"] == tape.run)
        return Response(facts | {"new": is_new}, status_code=HTTP_201_CREATED if is_new else HTTP_200_OK)

    @get(sync_to_thread=False)
    def list_tapes(self, verbs: NamedDependency[AdminVerbs]) -> dict[str, list[dict[str, object]]]:
        """All loaded tapes."""
        return {"items": verbs.tapes()}


class ExchangeController(Controller):
    """The exchange as a whole."""

    path = "/operator/v1"

    @get("/summary", sync_to_thread=False)
    def show_summary(self, verbs: NamedDependency[AdminVerbs]) -> dict[str, object]:
        """Orders, sessions, prices."""
        return verbs.summary()

    @get("/orders", sync_to_thread=False)
    def list_orders(
        self,
        verbs: NamedDependency[AdminVerbs],
        after: FromQuery[str] = "",
        limit: Annotated[int, QueryParameter(name="limit", ge=1, le=ORDERS_MAX)] = ORDERS_MAX,
        named: FromQuery[str | None] = None,
    ) -> dict[str, object]:
        """What every order traded, by id, a page at a time; or the orders that `named` lists with commas. Raises 422
        for more names than a page holds."""
        if named is not None:
            names = named.split(",")
            if len(names) > ORDERS_MAX:
                raise as_problem(InvalidField("named", f"at most {ORDERS_MAX} orders"))
            return {"items": [_traded(order) for order in verbs.named_orders(names)], "next_after": None}
        found = verbs.traded_orders(after=after, limit=limit)
        last = found[-1].cl_ord_id if len(found) == limit else None
        return {"items": [_traded(order) for order in found], "next_after": last}

    @get("/faults", sync_to_thread=False)
    def show_faults(self, verbs: NamedDependency[AdminVerbs]) -> dict[str, object]:
        """The faults that are on."""
        shown: dict[str, object] = msgspec.to_builtins(verbs.faults)
        return shown

    @post("/faults", status_code=HTTP_200_OK)
    async def set_faults(
        self, request: Request[Any, Any, Any], verbs: NamedDependency[AdminVerbs]
    ) -> dict[str, object]:
        """Replace the faults; an empty object switches all off. Raises 422 for a value out of its bounds."""
        wanted = await read_body(_faults_decoder, request)
        faults = Faults(**{name: getattr(wanted, name) for name in Faults.__struct_fields__})
        try:
            await verbs.set_faults(faults)
        except ExchangeError as error:
            raise as_problem(error) from error
        sessions = await verbs.report_unknown_fill() if wanted.unknown_fill else []
        _log.info(
            "an operator set faults",
            extra={"operator": subject_of(request), "faults": msgspec.to_builtins(wanted)},
        )
        shown: dict[str, object] = msgspec.to_builtins(verbs.faults)
        return shown | {"unknown_fill_sent_to": sessions}


def _traded(order: TradedOrder) -> dict[str, object]:
    return {
        "cl_ord_id": order.cl_ord_id,
        "session": order.session,
        "ord_status": order.ord_status,
        "open": order.ord_status not in ENDED,
        "cum_qty": order.cum_qty,
        "cum_cost": None if order.cum_cost is None else str(order.cum_cost),
        "executions": order.executions,
        "account": order.account,
    }


async def _tape_content(request: Request[Any, Any, Any]) -> bytes:
    """The raw body, or the one file of a form."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body()
    for value in (await request.form()).values():
        if hasattr(value, "read"):
            return bytes(await value.read())
    raise as_problem(InvalidField("body", "the form holds no file"))
