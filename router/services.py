"""What every request may ask of its router. One frozen value, made once by `app.py`.

What comes and goes (connections, tasks, tunnels) is kept apart in registries, which a request does not see.
"""

from collections import Counter
from dataclasses import dataclass

from router.access_log import AccessLog
from router.headers import Ids
from router.hold import Holding
from router.identify import Routes
from router.limits import Limit


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates: of one customer, of one address, and of one address for sign-ups and logins."""

    user: Limit
    address: Limit
    identity: Limit


@dataclass(frozen=True, slots=True)
class Services:
    """Fields are shared by all requests at once; none of them waits."""

    routes: Routes
    holding: Holding
    limits: Limits
    ids: Ids
    access_log: AccessLog
    refusals: Counter[str]
    """By code: what the router itself refused."""
    deadline_s: float
    """For all that a request may take, from when it was whole."""
    whole_budget_ms: bytes
    """What a cell is given of it when nothing was spent here (`budget.py`), as it is written for most requests."""
