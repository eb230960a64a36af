"""The least role of each endpoint of the exchange's operator port (`infra/runtime/least_roles.py`)."""

from typing import Final

from infra.runtime.least_roles import LeastRoles
from infra.security.roles import Role

LEAST_ROLES: Final[LeastRoles] = {
    "GET /operator/v1/summary": Role.VIEWER,
    "GET /operator/v1/orders": Role.VIEWER,
    "GET /operator/v1/faults": Role.VIEWER,
    "GET /operator/v1/tapes": Role.VIEWER,
    "POST /operator/v1/faults": Role.OPERATOR,
    "POST /operator/v1/tapes": Role.OPERATOR,
}
