"""An operator's token, signed with the keys of a folder."""

import time
from pathlib import Path

from infra.security.keys import OPERATOR_FILE, load_key_ring
from infra.security.operator_token import sign_operator_token
from infra.security.roles import Role


def operator_token(
    keys: Path, role: str = Role.OPERATOR, *, subject: str = "test", lives_s: int = 60, fence: int | None = None
) -> str:
    ring = load_key_ring(keys / OPERATOR_FILE)
    return sign_operator_token(
        ring, subject=subject, role=Role(role), expires_at_s=int(time.time()) + lives_s, fence=fence
    )
