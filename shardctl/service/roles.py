"""The least role of each endpoint of the control service (`infra/runtime/least_roles.py`).

A kind of operation may want more than its endpoint (`Kind.role`): whoever orders, cancels, resumes or approves an
operation needs the role of its kind.
"""

from typing import Final

from infra.runtime.least_roles import LeastRoles
from infra.security.roles import Role

_ONE: Final = "/v1/operations/{number}"
_CELL: Final = "/v1/cells/{cell}"
_USER: Final = "/v1/users/{user_id}"
_TRANSFER: Final = f"{_USER}/share-transfers/{{transfer}}"
LEAST_ROLES: Final[LeastRoles] = {
    "GET /v1/operations": Role.VIEWER,
    f"GET {_ONE}": Role.VIEWER,
    f"GET {_ONE}/events": Role.VIEWER,
    "GET /v1/whoami": Role.VIEWER,
    "GET /v1/schedules": Role.VIEWER,
    "GET /v1/audit": Role.AUDITOR,
    "GET /v1/audit/rows": Role.AUDITOR,
    "GET /v1/audit/head": Role.AUDITOR,
    "GET /v1/operator-tokens": Role.VIEWER,
    # No more is signed than the person may do.
    "POST /v1/operator-tokens": Role.OPERATOR,
    "POST /v1/operations": Role.OPERATOR,
    f"POST {_ONE}/cancel": Role.OPERATOR,
    f"POST {_ONE}/resume": Role.OPERATOR,
    f"POST {_ONE}/approve": Role.OPERATOR,
    "GET /v1/map": Role.VIEWER,
    "POST /v1/map/publish": Role.OPERATOR,
    f"POST {_CELL}/cordon": Role.OPERATOR,
    f"POST {_CELL}/uncordon": Role.OPERATOR,
    f"POST {_CELL}/reports/{{report}}/retry": Role.OPERATOR,
    "GET /v1/users": Role.VIEWER,
    f"POST {_USER}/revoke": Role.OPERATOR,
    f"POST {_USER}/profile": Role.OPERATOR,
    f"POST {_USER}/unrestrict": Role.OPERATOR,
    f"POST {_TRANSFER}/approve": Role.OPERATOR,
    f"POST {_TRANSFER}/refuse": Role.OPERATOR,
}
