"""Persons by OpenID Connect: a bearer token of the organisation's issuer says who asks, and what they may do.

Taken are RS256, ES256 and EdDSA under a key that the issuer offers now, never `none` or a symmetric algorithm, whatever
the token's header asks for. A token must be for our audience, from our issuer, in its time and short-lived. The role is
the highest that the mapping gives to any value of the role claim; a person with none is known and not let in. While the
issuer's keys cannot be had, the answer is 503 and names the issuer: the socket is the way in then.
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import jwt
from litestar.connection import ASGIConnection

from infra.runtime.http_client import HttpClient, OutcomeUnknown, PeerUnreachable
from infra.runtime.problem import Problem
from infra.runtime.telemetry import Metrics
from infra.security.free_text import check_free_text
from infra.security.roles import Role
from infra.security.signed_claims import DECODE_OPTIONS, WHAT_A_FORGER_CAUSES
from shardctl.errors import NotAllowed, NotReachable
from shardctl.oidc_settings import OidcSettings
from shardctl.persons import Person, Way
from shardctl.service.issuer_keys import Fetch, FetchFailed, IssuerKeys, KeysUnavailable

_LIFE_MAX_S: Final = 86_400
"""A day: whoever may do this much logs in again each morning."""
_TOKEN_BYTES_MAX: Final = 16_384
"""Groups of a large organisation are some thousand bytes; a longer token is refused before anything is computed."""
_SUBJECT_MAX: Final = 190
"""Characters; with `oidc:` before it what the record of acts keeps of an actor."""
_FETCH_TIMEOUT_S: Final = 3.0
"""An operator waits for it, once in some minutes."""
_SPELLED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NEXT: Final = "`shardctl login`"


class OidcPersons:
    """Who asks at the port for persons elsewhere."""

    def __init__(
        self, settings: OidcSettings, keys: IssuerKeys, metrics: Metrics, *, now_s: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._metrics = metrics
        self._now_s = now_s

    async def identify(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Person:
        """Raises Problem 401, NotAllowed for a person without a role here, NotReachable without the issuer's keys."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._refused("missing", f"this needs a token of {self._settings.issuer}: {_NEXT}")
        try:
            claims = await self._verify(token)
        except KeysUnavailable as error:
            raise NotReachable(f"{error}; on the machine itself its owner is let in without a token") from error
        subject = f"oidc:{claims['sub']}"
        role = highest(self._settings.roles.get(value) for value in values_of(claims, self._settings.role_claim))
        if role is None:
            raise NotAllowed(f"{subject} has no role here: nothing in the claim {self._settings.role_claim} gives one")
        return Person(subject, role, Way.OIDC)

    async def _verify(self, token: str) -> dict[str, Any]:
        """Raises Problem 401, KeysUnavailable."""
        if len(token) > _TOKEN_BYTES_MAX or not _SPELLED.fullmatch(token):
            raise self._refused("invalid", "not a token of the issuer")
        try:
            header = jwt.get_unverified_header(token)
            kid = header["kid"]
            key = await self._keys.find(kid) if isinstance(kid, str) else None
            if key is None or header["alg"] != key.algorithm:
                raise self._refused("invalid", "not a token of the issuer")
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options=DECODE_OPTIONS,
            )
            self._check_time(claims)
            _check_subject(claims["sub"])
        except WHAT_A_FORGER_CAUSES as error:
            raise self._refused("invalid", "not a token of the issuer for this service") from error
        return claims

    def _check_time(self, claims: dict[str, Any]) -> None:
        """Raises Problem 401, ValueError."""
        now_s, leeway_s = self._now_s(), self._settings.leeway_s
        times = [claims["exp"], claims["iat"], claims.get("nbf", claims["iat"])]
        if any(type(moment) not in (int, float) or not math.isfinite(moment) for moment in times):
            raise ValueError("a time is none")
        ends, *begins = times
        if ends <= now_s - leeway_s:
            raise self._refused("expired", f"the token has expired: {_NEXT}", "TOKEN_EXPIRED")
        if any(moment > now_s + leeway_s for moment in begins):
            raise self._refused("early", "the token is from the future: are the clocks right?")
        if ends - begins[0] > _LIFE_MAX_S:
            raise self._refused("invalid", f"the token lives longer than {_LIFE_MAX_S} seconds")

    def _refused(self, why: str, detail: str, code: str = "TOKEN_INVALID") -> Problem:
        self._metrics.counter("shardctl_oidc_refused_total").labels(why).inc()
        return Problem(401, code, detail, exit_code=int(NotAllowed.exit_code))


def _check_subject(subject: object) -> None:
    """Raises ValueError."""
    if type(subject) is not str or not 0 < len(subject) <= _SUBJECT_MAX:
        raise ValueError("no subject")
    check_free_text(subject)


def values_of(claims: Any, path: str) -> list[str]:
    """The texts of a claim, one or a list of them; dots lead into objects. Pure."""
    found = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    listed = found if isinstance(found, list) else [found]
    return [value for value in listed if isinstance(value, str)]


def highest(roles: Iterable[Role | None]) -> Role | None:
    """None: there is none. Pure."""
    best: Role | None = None
    for role in roles:
        if role is not None and (best is None or role.may(best)):
            best = role
    return best


def fetched_by(http: HttpClient) -> Fetch:
    """Documents over HTTP, each in one attempt."""

    async def fetch(url: str) -> bytes:
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                answer = await http.request("GET", url, timeout_s=_FETCH_TIMEOUT_S)
        except (PeerUnreachable, OutcomeUnknown, TimeoutError) as error:
            raise FetchFailed(str(error) or f"{url} does not answer in time") from error
        if answer.status != 200:
            raise FetchFailed(f"{url} answers {answer.status}")
        return answer.body

    return fetch
