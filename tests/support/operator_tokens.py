"""An operator's token, signed with the keys of a folder."""

import time
from pathlib import Path

from infra.security.keys import OPERATOR_SIGNING_FILE, load_signing_ring
from infra.security.operator_token import sign_operator_token
from infra.security.roles import Role

WHY = "a test"


def operator_token(
    keys: Path,
    role: str = Role.OPERATOR,
    *,
    subject: str = "test",
    why: str | None = WHY,
    lives_s: int = 60,
    fence: int | None = None,
) -> str:
    return sign_operator_token(
        load_signing_ring(keys / OPERATOR_SIGNING_FILE),
        subject=subject,
        role=Role(role),
        now_s=int(time.time()),
        lives_s=lives_s,
        why=why,
        fence=fence,
    )
