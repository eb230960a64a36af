"""How the OpenAPI document describes a customer's call: its parameters, its body, its answers and refusals.

Handlers take raw bodies (amounts must keep every digit) and any text as a parameter, so that each refusal is a problem
document with a code; what is taken is therefore described by hand, never narrower than it is checked. Tests hold the
document against the parsers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Link, OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from cell.money import MICROS, PRICE_MAX_MICROS, QTY_MAX_MICROS
from cell.paging import LIMIT_DEFAULT, LIMIT_MAX
from infra.runtime.problem import MEDIA_TYPE


class ProblemDocument(msgspec.Struct):
    """RFC 9457; `code` is stable, figures that explain it may follow."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None


def text(description: str, *, choices: Sequence[str] = (), pattern: str | None = None) -> Schema:
    return Schema(type=OpenAPIType.STRING, enum=list(choices) or None, pattern=pattern, description=description or None)


def amount(description: str, *, most: int = QTY_MAX_MICROS // MICROS, zero_allowed: bool = False) -> Schema:
    """A decimal, as a string or as a plain number. What more a field wants (a tick, a sign) is refused with 422."""
    number = Schema(type=OpenAPIType.NUMBER, maximum=most)
    if zero_allowed:
        number.minimum = 0
    else:
        number.exclusive_minimum = 0
    digits = rf"0*[0-9]{{1,{len(str(most))}}}(\.[0-9]{{1,6}}0*)?$"
    not_zero = "" if zero_allowed else r"(?!0+(\.0+)?$)"
    kinds = [Schema(type=OpenAPIType.STRING, pattern=f"^{not_zero}{digits}"), number]
    return Schema(one_of=kinds, description=description)


def price(description: str) -> Schema:
    return amount(description, most=PRICE_MAX_MICROS // MICROS)


def or_null(schema: Schema) -> Schema:
    """A field where null is the same as its absence."""
    kinds = schema.one_of or [replace(schema, description=None)]
    return Schema(one_of=[*kinds, Schema(type=OpenAPIType.NULL)], description=schema.description)


SYMBOL = text("1 to 12 capital letters, digits or dots, a letter first", pattern="^[A-Z][A-Z0-9.]{0,11}$")
_IN_A_PATH: Final = r"^(?!\.{1,2}$)[!-$&-.0-\[\]-~]{1,128}$"
CLIENT_ORDER_ID = text(
    "the customer's own name for an order: 1 to 128 visible ASCII characters without slash, backslash and percent sign",
    pattern=_IN_A_PATH,
)
_MOMENT: Final = (
    "a time as in RFC 3339 (no other form of ISO 8601, such as a week date); a leap second, 23:59:60Z, is read as the "
    "second after it; digits beyond the microsecond are left out"
)
_UUID: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_ID: Final = "a UUID with hyphens in their places; capital letters are the same as small ones"
_PARAMETERS: Final[Mapping[str, Schema]] = {
    "X-Idempotency-Key": text(
        "a new one per write; a repeat with the same one is answered the same", pattern="^[!-~]{1,128}$"
    ),
    "If-Match": text(
        'the etag of the order as it was seen, such as "3", or several of them, or *',
        pattern=r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$',
    ),
    "order_id": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, pattern=_UUID, description=_ID),
    "transfer_id": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, pattern=_UUID, description=_ID),
    "client_order_id": CLIENT_ORDER_ID,
    "venue_order_id": text("the venue_order_id of an order", pattern=_IN_A_PATH),
    "symbol": SYMBOL,
    "side": text("", choices=("buy", "sell")),
    "after": Schema(
        type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME, description=f"created later than this; {_MOMENT}"
    ),
    "until": Schema(
        type=OpenAPIType.STRING,
        format=OpenAPIFormat.DATE_TIME,
        description=f"created at this time or before; {_MOMENT}",
    ),
    "limit": Schema(
        type=OpenAPIType.INTEGER, minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT, description="items of one page"
    ),
    "page_token": text("next_page_token of the page before, as it is", pattern="^[A-Za-z0-9_-]*={0,2}$"),
    "direction": text("by time of creation, or by symbol", choices=("desc", "asc")),
}
_REQUIRED: Final = frozenset({"X-Idempotency-Key", "If-Match"})
"""Their absence is refused with a code of its own, so the handlers take it."""


@dataclass
class Described(Operation):
    """An operation whose parameters are described as they are checked: handlers take any text and refuse by name, so
    that every refusal is a problem document. A parameter that nobody described fails the start."""

    own_parameters: ClassVar[Mapping[str, Schema]] = {}
    """Of this call alone; a subclass names them."""

    def __post_init__(self) -> None:
        for parameter in self.parameters or ():
            assert isinstance(parameter, Parameter)
            parameter.schema = self.own_parameters.get(parameter.name) or _PARAMETERS[parameter.name]
            parameter.description = parameter.schema.description
            parameter.required = parameter.required or parameter.name in _REQUIRED


def json_body(
    required: Mapping[str, Schema],
    optional: Mapping[str, Schema] | None = None,
    *,
    shapes: Sequence[Schema] = (),
    example: Mapping[str, str],
    order_calls: Sequence[str] = (),
) -> type[Operation]:
    """An operation whose body is a JSON object of these fields, in one of these shapes. `order_calls` names the
    operations that take the order_id of its answer."""
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={**required, **(optional or {})},
        required=list(required),
        additional_properties=False,
        any_of=list(shapes) or None,
    )
    links = {name: Link(operation_id=name, parameters={"order_id": "$response.body#/order_id"}) for name in order_calls}

    @dataclass
    class WithBody(Described):
        def __post_init__(self) -> None:
            super().__post_init__()
            content = {"application/json": OpenAPIMediaType(schema=schema, example=dict(example))}
            self.request_body = RequestBody(required=True, content=content)
            for status, response in (self.responses or {}).items():
                if links and status.startswith("2") and isinstance(response, OpenAPIResponse):
                    response.links = {**links}

    return WithBody


def has(name: str) -> Schema:
    """The shape of a body in which this field is neither absent nor null."""
    return Schema(required=[name], properties={name: Schema(schema_not=Schema(type=OpenAPIType.NULL))})


def has_not(*names: str) -> Schema:
    """The shape of a body without these fields, or with null in them."""
    return Schema(properties={name: Schema(type=OpenAPIType.NULL) for name in names})


_REFUSALS: Final[Mapping[int, str]] = {
    400: "unparsable, or a header or field is missing",
    401: "no or bad token",
    404: "no such thing, or somebody else's",
    409: "the order has ended, or a change of it is pending",
    412: "the order is not what If-Match says any more",
    413: "the body is too large",
    415: "not application/json",
    422: "understood and refused; `code` says why",
    503: "not done, or `OUTCOME_UNKNOWN`: ask again, with the same key",
}
READ: Final = (400, 401, 404, 503)
LIST: Final = (*READ, 422)
WRITE: Final = (*READ, 413, 415, 422)


def answers(data: type[Any], refusals: Sequence[int], **successes: str) -> dict[int, ResponseSpec]:
    """The success answers (`s201=`, ...) as `data`, and the refusals that clients must expect."""
    success = {int(name[1:]): ResponseSpec(data, description=said) for name, said in successes.items()}
    return success | {
        status: ResponseSpec(ProblemDocument, description=_REFUSALS[status], media_type=MEDIA_TYPE)
        for status in refusals
    }
