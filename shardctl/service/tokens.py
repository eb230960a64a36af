"""`/v1/operator-tokens`: a token for the operator ports of cells and of the exchange, in the name of who asks.

Subject and role are the person's: no more than theirs is signed, and only for some minutes. What it is for (`act`,
`target`) is recorded here, and how it ended has the token's id, which the log of the cell has too; why, the token
carries to the cell. It never carries the number of a lease: only steps of operations do.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency

from infra.runtime.strict_body import read_body, refused
from infra.security.free_text import FreeTextRefused, check_free_text
from infra.security.roles import Role
from infra.security.why import WHY_MAX
from shardctl.audit.attempts import Described, described
from shardctl.operator_tokens import PATH
from shardctl.service.auditing import DESCRIBE, attempt_of
from shardctl.service.identity import person_of
from shardctl.token_signing import Signed, TokenSigner

_log = logging.getLogger(__name__)
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""Of an act, or of what it is done to: a cell's name, a user's id."""


_REQUEST: Final = r"^[a-z0-9-]{1,40} [A-Z]{3,7} /[!-~]*$"
"""Where, method, path: `cell-1 POST /operator/v1/archive`."""


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    act: _Name
    target: _Name
    role: Role
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=WHY_MAX)] | None = None
    request: Annotated[str, msgspec.Meta(max_length=300, pattern=_REQUEST)] | None = None
    """The only one that it is for."""

    def __post_init__(self) -> None:
        if self.request is None and self.role is not Role.VIEWER:
            raise refused(422, "request", "a token that may do more than look is for one request")
        for name, text in (("act", self.act), ("target", self.target), ("reason", self.reason)):
            try:
                check_free_text(text or "-")
            except FreeTextRefused as error:
                raise refused(422, name, str(error)) from error


_decoder = msgspec.json.Decoder(TokenRequest)


def of_token(_: Mapping[str, Any], body: Mapping[str, Any]) -> Described:
    """Somebody wants to do something in a cell, or to the market: `act` says what."""
    return described("tokens.sign", body.get("target"), body)


class TokensController(Controller):
    path = PATH

    @get("/", sync_to_thread=False)
    def look(self, request: Request[Any, Any, Any], signer: NamedDependency[TokenSigner]) -> dict[str, Any]:
        """A viewer's. It changes nothing, so it is not recorded, and needs no control database."""
        return _answer(signer.sign(subject=person_of(request).subject, role=Role.VIEWER), Role.VIEWER)

    @post("/", status_code=200, opt={DESCRIBE: of_token})
    async def sign(self, request: Request[Any, Any, Any], signer: NamedDependency[TokenSigner]) -> dict[str, Any]:
        body = await read_body(_decoder, request)
        person, attempt = person_of(request), attempt_of(request)
        person.need(body.role)
        signed = signer.sign(subject=person.subject, role=body.role, request=body.request, reason=body.reason)
        attempt.detail = f"token {signed.token_id}"
        told = {"token_id": signed.token_id, "row": attempt.number, "subject": person.subject, "role": body.role}
        _log.info("signed", extra={**told, "act": body.act, "target": body.target})
        return _answer(signed, body.role)


def _answer(signed: Signed, role: Role) -> dict[str, Any]:
    return {"token": signed.token, "role": role, "expires_at_s": signed.ends_at_s}
