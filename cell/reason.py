"""Why an operator did something: a person's own words, which are kept with what they changed."""

from typing import Annotated

import msgspec

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
"""Long enough for a sentence or two and a ticket's address; it is one row of the record of acts."""


class ReasonRequest(msgspec.Struct, forbid_unknown_fields=True):
    reason: Reason
