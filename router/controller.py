"""The calls that the router answers itself: sign-up and tokens. Litestar, since they are rare and bound by argon2."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody

from infra.runtime.problem import Problem
from infra.security.email_hash import normalize_email
from router.access_tokens import AccessTokens
from router.log_in import LogIn, Session
from router.sign_up import NewUser, SignUp

_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
# As narrow as any cell's own checks: a claim must not be made for an account that its cell then refuses.
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
_NAME_CHARS_MAX: Final = 200
_PASSWORD_CHARS_MIN: Final = 8
_PASSWORD_BYTES_MAX: Final = 1_024

ShortText = Annotated[str, msgspec.Meta(max_length=1024)]


class SignUpRequest(msgspec.Struct):
    email: ShortText
    password: ShortText
    name: ShortText | None = None


class TokenRequest(msgspec.Struct):
    """`grant_type` is `password` (with email and password) or `refresh_token` (with refresh_token)."""

    grant_type: ShortText
    email: ShortText | None = None
    password: ShortText | None = None
    refresh_token: ShortText | None = None


class NewUserTokens(msgspec.Struct):
    user_id: UUID
    access_token: str
    expires_in: int
    refresh_token: str


class Tokens(msgspec.Struct):
    access_token: str
    expires_in: int
    refresh_token: str


class ProblemDocument(msgspec.Struct):
    """RFC 9457, with a stable code."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None


_PROBLEM: Final = {
    status: ResponseSpec(data_container=ProblemDocument, description=text, media_type="application/problem+json")
    for status, text in {
        400: "A field or header is missing or malformed",
        401: "Email, password or refresh token is wrong",
        409: "`EMAIL_TAKEN`",
        415: "Not application/json",
        422: "Understood and refused; `IDEMPOTENCY_KEY_REUSED` for a key of another sign-up",
        503: "Not done, or `OUTCOME_UNKNOWN`: ask again with the same key",
    }.items()
}


class IdentityController(Controller):
    path = "/v1"
    tags = ("identity",)

    @post("/users", summary="Sign up", responses={s: _PROBLEM[s] for s in (400, 409, 415, 422, 503)})
    async def sign_up(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SignUpRequest],
        sign_ups: NamedDependency[SignUp],
        access_tokens: NamedDependency[AccessTokens],
        idempotency_key: Annotated[str | None, HeaderParameter(name="X-Idempotency-Key")] = None,
    ) -> Response[NewUserTokens]:
        """A new customer with an account in the least loaded cell."""
        if idempotency_key is None:
            raise Problem(400, "MISSING_IDEMPOTENCY_KEY", "sign-up needs the header X-Idempotency-Key")
        if not _KEY.fullmatch(idempotency_key):
            raise Problem(
                400,
                "INVALID_FIELD",
                "an idempotency key is 1 to 128 visible ASCII characters",
                field="X-Idempotency-Key",
            )
        user = _checked(data)
        done = await sign_ups.sign_up(user, idempotency_key, request.headers["x-request-id"])
        tokens = NewUserTokens(
            user_id=done.user_id,
            access_token=access_tokens.issue(done.user_id),
            expires_in=access_tokens.ttl_s,
            refresh_token=done.refresh_token,
        )
        headers = {"X-Cell": done.cell_id}
        if done.is_replay:
            headers["Idempotency-Replayed"] = "true"
        return Response(tokens, status_code=201, headers=headers)

    @post(
        "/tokens",
        status_code=200,
        summary="Log in or refresh",
        responses={s: _PROBLEM[s] for s in (400, 401, 415, 422, 503)},
    )
    async def issue_tokens(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[TokenRequest],
        log_ins: NamedDependency[LogIn],
        access_tokens: NamedDependency[AccessTokens],
    ) -> Response[Tokens]:
        """An access token of 15 minutes and a refresh token that works once."""
        session = await _open_session(data, log_ins, request.headers["x-request-id"])
        tokens = Tokens(
            access_token=access_tokens.issue(session.user_id),
            expires_in=access_tokens.ttl_s,
            refresh_token=session.refresh_token,
        )
        return Response(tokens, status_code=200, headers={"Cache-Control": "no-store"})


async def _open_session(data: TokenRequest, log_ins: LogIn, request_id: str) -> Session:
    if data.grant_type == "password":
        if data.email is None or data.password is None:
            raise Problem(400, "INVALID_FIELD", "a login needs email and password", field="email")
        return await log_ins.by_password(data.email, data.password, request_id)
    if data.grant_type == "refresh_token":
        if data.refresh_token is None:
            raise Problem(400, "INVALID_FIELD", "a refresh needs refresh_token", field="refresh_token")
        return await log_ins.by_refresh_token(data.refresh_token, request_id)
    raise Problem(400, "INVALID_FIELD", "grant_type is `password` or `refresh_token`", field="grant_type")


def _checked(data: SignUpRequest) -> NewUser:
    if not _EMAIL.fullmatch(normalize_email(data.email)):
        raise Problem(422, "INVALID_FIELD", "this is not an email address", field="email")
    password_bytes = len(data.password.encode("utf-8", "surrogatepass"))
    if len(data.password) < _PASSWORD_CHARS_MIN or password_bytes > _PASSWORD_BYTES_MAX:
        detail = f"a password has at least {_PASSWORD_CHARS_MIN} characters and at most {_PASSWORD_BYTES_MAX} bytes"
        raise Problem(422, "INVALID_FIELD", detail, field="password")
    if data.name is not None and (len(data.name) > _NAME_CHARS_MAX or "\x00" in data.name):
        detail = f"a name has at most {_NAME_CHARS_MAX} characters, none of them NUL"
        raise Problem(422, "INVALID_FIELD", detail, field="name")
    return NewUser(data.email, data.password, data.name)
