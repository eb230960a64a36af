"""What the customer controllers share: the idempotency header, and an `Answer` as a response."""

from typing import Annotated

from litestar import Response
from litestar.params import HeaderParameter

from cell.caller import Answer

IdempotencyKey = Annotated[str | None, HeaderParameter(name="X-Idempotency-Key", required=False)]


def as_response(answer: Answer) -> Response[bytes]:
    """An `Answer` through Litestar."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")
