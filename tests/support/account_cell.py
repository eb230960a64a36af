"""A scripted cell that keeps accounts, for the router's part of sign-up and login."""

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.stub_cell import SeenRequest, StubCell, answer


@dataclass
class AccountCell:
    """Speaks the internal calls of a cell the way the wire says; passwords in clear, since nobody has any."""

    cell: StubCell
    passwords: dict[uuid.UUID, str] = field(default_factory=dict)
    refresh_tokens: dict[uuid.UUID, str] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.cell.behave = self.behave

    async def behave(self, request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        user_id = self.cell.claims(request, int(self.now())).user_id
        body = json.loads(request.body) if request.body else {}
        writer.write(self._answer(request.target, user_id, body))

    def _answer(self, target: str, user_id: uuid.UUID, body: dict[str, str]) -> bytes:
        known = user_id in self.passwords
        if target == "/internal/v1/accounts":
            if self.passwords.setdefault(user_id, body["password"]) != body["password"]:
                detail = "this idempotency key was used for another sign-up"
                return answer(422, {"code": "IDEMPOTENCY_KEY_REUSED", "detail": detail, "status": 422})
            return self._session(201, user_id)
        if not known and target == "/internal/v1/sessions":
            return answer(401, {"code": "TOKEN_INVALID", "detail": "email or password is wrong", "status": 401})
        if not known:
            return answer(404, {"code": "USER_NOT_FOUND", "detail": "no such user in this cell", "status": 404})
        if target == "/v1/account":
            return answer(200, {"user_id": str(user_id)})
        good = (
            body.get("password") == self.passwords[user_id]
            if target == "/internal/v1/sessions"
            else body.get("refresh_token") == self.refresh_tokens.get(user_id)
        )
        if not good:
            return answer(401, {"code": "TOKEN_INVALID", "detail": "email or password is wrong", "status": 401})
        return self._session(200, user_id)

    def _session(self, status: int, user_id: uuid.UUID) -> bytes:
        token = f"{user_id.hex}.{uuid.uuid4().hex}.{secrets.token_urlsafe(32)}"
        self.refresh_tokens[user_id] = token
        return answer(status, {"user_id": str(user_id), "refresh_token": token, "created_at": "2026-01-01T00:00:00Z"})
