"""What customers' controllers take from Litestar and give back to it: two headers as parameters, an `Answer`."""

from typing import Annotated

from litestar import Response
from litestar.params import HeaderParameter

from cell.caller import Answer

IdempotencyKey = Annotated[str | None, HeaderParameter(name="X-Idempotency-Key", required=False)]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", required=False)]
"""Both may be absent here: their absence is refused by a code of its own, not by the framework."""


def as_response(answer: Answer) -> Response[bytes]:
    """An `Answer` through Litestar."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")
