"""An operator's token, signed with the keys of a folder."""

import time
from pathlib import Path
from typing import Any

from infra.security.keys import OPERATOR_SIGNING_FILE, load_signing_ring
from infra.security.operator_token import sign_operator_token
from infra.security.request_name import request_name
from infra.security.roles import Role

WHY = "a test"


def bearer(keys: Path, place: str, method: str, path: str, role: str = Role.OPERATOR, **claims: Any) -> dict[str, str]:
    """The header of one request, with a token for it alone."""
    token = operator_token(keys, role, request=request_name(place, method, path), **claims)
    return {"Authorization": f"Bearer {token}"}


def operator_token(
    keys: Path,
    role: str = Role.OPERATOR,
    *,
    subject: str = "test",
    why: str | None = WHY,
    lives_s: int = 60,
    fence: int | None = None,
    request: str | None = None,
) -> str:
    """`request`: the one that it is for, as `cell-1 POST /operator/v1/archive`; without it, it serves looking."""
    return sign_operator_token(
        load_signing_ring(keys / OPERATOR_SIGNING_FILE),
        subject=subject,
        role=Role(role),
        now_s=int(time.time()),
        lives_s=lives_s,
        why=why,
        fence=fence,
        request=request,
    )
