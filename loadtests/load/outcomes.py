"""What an answer means for the customer who waited for it. Pure.

`shed` (503 with `Retry-After`) is not an error: the platform had enough to do, nothing was done, and the answer said
so. `limited` (429 with `Retry-After`) is not one either: this customer asked for more than one may. An order is
`unknown` when nobody can tell from the answer whether it was placed; it is asked for again with the same key.
"""

from enum import StrEnum


class Outcome(StrEnum):
    DONE = "done"
    REJECTED = "rejected"
    """Understood and refused by a rule: too little money, too many orders a minute, no longer open."""
    SHED = "shed"
    LIMITED = "limited"
    UNKNOWN = "unknown"
    ERROR = "error"


def outcome_of(*, status: int, code: str | None, retry_after: str | None, writes: bool) -> Outcome:
    """`status` is 0 when the connection broke or nothing came in time. `writes`: it was not merely a read."""
    if 200 <= status < 300:
        return Outcome.DONE
    if status == 503 and code == "OUTCOME_UNKNOWN":
        return Outcome.UNKNOWN
    if status in (429, 503) and retry_after is not None:
        return Outcome.SHED if status == 503 else Outcome.LIMITED
    if status in (409, 412, 422):
        return Outcome.REJECTED
    return Outcome.UNKNOWN if writes and (status == 0 or status >= 500) else Outcome.ERROR
