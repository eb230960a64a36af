"""The least role of each endpoint of a cell's operator port, all of them (`infra/runtime/least_roles.py`).

Looking is a viewer's, also where it is a POST because the question is long or the answer is computed. Whatever changes
an account or a cell is an operator's. To open a restored cell, and to let those write again who stayed read-only, is an
admin's: after no other act may the books differ from what customers were told.
"""

from typing import Final

from infra.runtime.least_roles import LeastRoles
from infra.security.roles import Role

_USER: Final = "/operator/v1/users/{user_id}"
_MOVE: Final = "/operator/v1/moves/{move_id}"
_MOVE_STEPS: Final = (
    "begin",
    "arrive",
    "read",
    "catch-up",
    "halt",
    "load",
    "depart",
    "activate",
    "release",
    "discard",
    "acknowledge",
)
SELF_PROVING: Final = frozenset({"POST /operator/v1/certificates"})
"""Another cell says that a user has left it, and its signature is all that counts."""
LEAST_ROLES: Final[LeastRoles] = {
    "GET /operator/v1/summary": Role.VIEWER,
    "GET /operator/v1/rollups": Role.VIEWER,
    "GET /operator/v1/quarantine": Role.VIEWER,
    "GET /operator/v1/early-reports": Role.VIEWER,
    "GET /operator/v1/share-transfers": Role.VIEWER,
    "GET /operator/v1/reconciliations": Role.VIEWER,
    "GET /operator/v1/reconciliations/event-heads": Role.VIEWER,
    "POST /operator/v1/reconciliations/comparisons": Role.VIEWER,
    "GET /operator/v1/incarnation": Role.VIEWER,
    "GET /operator/v1/incarnation/halted": Role.VIEWER,
    "POST /operator/v1/checks": Role.VIEWER,
    f"GET {_USER}": Role.VIEWER,
    f"GET {_USER}/orders": Role.VIEWER,
    f"GET {_USER}/size": Role.VIEWER,
    f"POST {_USER}/attest": Role.VIEWER,
    f"PUT {_USER}/profile": Role.OPERATOR,
    f"POST {_USER}/sessions/end": Role.OPERATOR,
    f"POST {_USER}/unrestrict": Role.OPERATOR,
    f"POST {_USER}/share-transfers/{{transfer_id}}/approve": Role.OPERATOR,
    f"POST {_USER}/share-transfers/{{transfer_id}}/refuse": Role.OPERATOR,
    "POST /operator/v1/quarantine/{report_id}/retry": Role.OPERATOR,
    "POST /operator/v1/reconcile": Role.OPERATOR,
    "POST /operator/v1/archive": Role.OPERATOR,
    "POST /operator/v1/leader": Role.OPERATOR,
    f"GET {_MOVE}": Role.VIEWER,
    **{f"POST {_MOVE}/{step}": Role.OPERATOR for step in _MOVE_STEPS},
    "POST /operator/v1/incarnation/open": Role.ADMIN,
    "POST /operator/v1/incarnation/release": Role.ADMIN,
}
