"""What the customer controllers share: the idempotency header, an `Answer` as a response, bodies in the document.

Writes take the raw body (amounts must keep every digit), so their shape is described by hand; a test holds it
against what is parsed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import HeaderParameter

from cell.caller import Answer

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="X-Idempotency-Key",
        required=False,
        description="1 to 128 visible ASCII characters; the same key with the same request is answered the same",
    ),
]


class ProblemDocument(msgspec.Struct):
    """RFC 9457; `code` is stable, figures that explain it may follow."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None


def as_response(answer: Answer) -> Response[bytes]:
    """An `Answer` through Litestar."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def text(description: str, *, choices: Sequence[str] = ()) -> Schema:
    return Schema(type=OpenAPIType.STRING, enum=list(choices) or None, description=description)


def amount(description: str) -> Schema:
    """A decimal, as a string or as a plain number."""
    kinds = [Schema(type=OpenAPIType.STRING, pattern=r"^\d+(\.\d{1,6})?$"), Schema(type=OpenAPIType.NUMBER)]
    return Schema(one_of=kinds, description=description)


def json_body(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> type[Operation]:
    """An operation whose body is a JSON object of these fields."""
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={**required, **(optional or {})},
        required=list(required),
        additional_properties=False,
    )

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                required=True, content={"application/json": OpenAPIMediaType(schema=schema)}
            )

    return WithBody


def answers(data: type[Any], **others: str) -> dict[int, ResponseSpec]:
    """The success answer (`s201=`, ...) as `data`, and the refusals that clients must expect."""
    refusals = {400: "unparsable, or a header or field is missing", 401: "no or bad token"}
    refusals |= {
        415: "not application/json",
        422: "understood and refused; `code` says why",
        503: "not done; try again",
    }
    success = {int(name[1:]): ResponseSpec(data, description=said) for name, said in others.items()}
    return success | {status: ResponseSpec(ProblemDocument, description=said) for status, said in refusals.items()}
