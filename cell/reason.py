"""Why an operator did something: a person's own words, which are kept with what they changed."""

from typing import Annotated, Final

import msgspec

from infra.runtime.strict_body import refused
from infra.security.free_text import FreeTextRefused, check_free_text

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
"""Long enough for a sentence or two and a ticket's address; it is one row of the record of acts."""


class ReasonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an act, or what the body of an act begins with. Decoding raises Problem 422 for a reason that nobody
    could read."""

    reason: Reason

    def __post_init__(self) -> None:
        try:
            check_free_text(self.reason)
        except FreeTextRefused as error:
            raise refused(422, "reason", str(error)) from error


reason_decoder: Final = msgspec.json.Decoder(ReasonRequest)
"""Of a body that is a reason and nothing else."""
