"""What the router answers itself: sign-up and tokens, and the documents. Litestar, since they are rare and bound by
argon2."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Litestar, MediaType, Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter
from litestar.types import Message, Scope

from infra.runtime.plain_requests import PlainRequests
from infra.runtime.problem import Problem, to_response
from infra.runtime.strict_body import read_body, refused
from infra.security.email_form import EmailRefused, check_email
from infra.security.free_text import FreeTextRefused, check_free_text
from infra.security.password_form import (
    PASSWORD_AS_TYPED_CHARS_MAX,
    PASSWORD_CHARS_MAX,
    PasswordRefused,
    check_password,
    normal_password,
)
from router.access_tokens import AccessTokens
from router.docs_page import render_docs
from router.documents import CustomerDocument
from router.errors import RouterRefusal, refusal_headers
from router.limits import address_key
from router.log_in import LogIn, Password, Session
from router.sign_up import NewUser, SignUp

_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_NAME_CHARS_MAX: Final = 200
"""As the account document of a cell has it."""
_GRANT_TYPES: Final = ("password", "refresh_token")
_DESCRIPTION: Final = (
    "Everything a customer may ask. Amounts are decimal strings; errors are problem documents. HEAD is served wherever "
    "GET is. Query parameters that a call does not have, or that are given twice, are refused by name, and so are "
    "headers of one value that are given twice. Bodies are not coded: a Content-Encoding is answered 415."
)

ShortText = Annotated[str, msgspec.Meta(max_length=1024)]
"""Characters; nothing that is taken has a tenth."""
PasswordText = Annotated[str, msgspec.Meta(max_length=PASSWORD_AS_TYPED_CHARS_MAX)]
"""As it was typed; its length is judged in its one form."""


class SignUpRequest(msgspec.Struct, forbid_unknown_fields=True):
    email: ShortText
    password: PasswordText
    name: ShortText | None = None


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`grant_type` is `password` (with email and password) or `refresh_token` (with refresh_token).

    A login may show a `refresh_token` besides, any that was given out for the account: a device that has logged in
    before is not made to wait for what strangers have guessed.
    """

    grant_type: ShortText
    email: ShortText | None = None
    password: PasswordText | None = None
    refresh_token: ShortText | None = None


_sign_up = msgspec.json.Decoder(SignUpRequest)
_tokens = msgspec.json.Decoder(TokenRequest)


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
        401: "Email, password or refresh token is wrong; which of them is not said",
        409: "`EMAIL_TAKEN`",
        415: "Not application/json",
        422: "Understood and refused; `IDEMPOTENCY_KEY_REUSED` for a key of another sign-up of this email",
        429: "Too many logins to this account were tried from there, or too many requests: nothing was checked",
        503: "Not done, or `OUTCOME_UNKNOWN`: ask again with the same key",
    }.items()
}


class IdentityController(Controller):
    path = "/v1"
    tags = ("identity",)

    @post("/users", summary="Sign up", responses={s: _PROBLEM[s] for s in (400, 409, 415, 422, 429, 503)})
    async def sign_up(
        self,
        request: Request[Any, Any, Any],
        sign_ups: NamedDependency[SignUp],
        access_tokens: NamedDependency[AccessTokens],
        idempotency_key: Annotated[str | None, HeaderParameter(name="X-Idempotency-Key")] = None,
    ) -> Response[NewUserTokens]:
        """A new customer with an account in the least loaded cell.

        An idempotency key belongs to the email it was used with and is kept for seven days: until then the same key,
        email and password answer 201 again, anything else with that key and email 422.
        """
        if idempotency_key is None:
            raise Problem(400, "MISSING_IDEMPOTENCY_KEY", "sign-up needs the header X-Idempotency-Key")
        if not _KEY.fullmatch(idempotency_key):
            raise Problem(
                400,
                "INVALID_FIELD",
                "an idempotency key is 1 to 128 visible ASCII characters",
                field="X-Idempotency-Key",
            )
        user = _checked(await read_body(_sign_up, request), _source(request))
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
        responses={s: _PROBLEM[s] for s in (400, 401, 415, 422, 429, 503)},
    )
    async def issue_tokens(
        self,
        request: Request[Any, Any, Any],
        log_ins: NamedDependency[LogIn],
        access_tokens: NamedDependency[AccessTokens],
    ) -> Response[Tokens]:
        """An access token of 15 minutes and a refresh token that works once.

        Showing the same refresh token again within ten seconds of its first use is the same attempt, by whomever and
        however often: every one gets the same answer, whose `expires_in` counts from the first. Afterwards a token that
        was current once ends its session, since a copy of it must be about; a token that never was ends nothing. Which
        attempt it is, the token alone says: no idempotency key is read here.
        """
        data = await read_body(_tokens, request)
        session = await _open_session(data, log_ins, _source(request), request.headers["x-request-id"])
        tokens = Tokens(
            access_token=access_tokens.issue(session.user_id, session.begun_at_s),
            expires_in=access_tokens.ttl_s,
            refresh_token=session.refresh_token,
        )
        return Response(tokens, status_code=200, headers={"Cache-Control": "no-store"})


def _source(request: Request[Any, Any, Any]) -> str | None:
    """The address of the connection, as the limits count it; what a client or a balancer says of it is never
    believed."""
    return address_key(request.client.host) if request.client else None


async def _open_session(data: TokenRequest, log_ins: LogIn, source: str | None, request_id: str) -> Session:
    if data.grant_type == "password":
        email, password = _needed("email", data.email), _needed("password", data.password)
        if len(normal_password(password)) > PASSWORD_CHARS_MAX:
            raise refused(422, "password", f"at most {PASSWORD_CHARS_MAX} characters")
        return await log_ins.by_password(Password(email, password, source, data.refresh_token), request_id)
    if data.grant_type == "refresh_token":
        return await log_ins.by_refresh_token(_needed("refresh_token", data.refresh_token), request_id)
    raise refused(422, "grant_type", f"one of {', '.join(_GRANT_TYPES)}", allowed=_GRANT_TYPES)


def _needed(field: str, value: str | None) -> str:
    """Needed by this kind of login."""
    if value is None:
        raise refused(400, field, "missing")
    return value


def _checked(data: SignUpRequest, source: str | None) -> NewUser:
    try:
        check_email(data.email)
    except EmailRefused as refused:
        raise Problem(422, "INVALID_FIELD", f"email: {refused}", field="email") from refused
    try:
        check_password(data.password)
    except PasswordRefused as refused:
        raise Problem(422, "INVALID_FIELD", f"password: {refused}", field="password") from refused
    if data.name is not None and len(data.name) > _NAME_CHARS_MAX:
        raise Problem(422, "INVALID_FIELD", f"name: at most {_NAME_CHARS_MAX} characters", field="name")
    try:
        if data.name:  # an empty one is no name, and was always taken
            check_free_text(data.name)
    except FreeTextRefused as refused:
        raise Problem(422, "INVALID_FIELD", f"name: {refused}", field="name") from refused
    return NewUser(data.email, data.password, data.name, source)


def create_pages(
    sign_ups: SignUp,
    log_ins: LogIn,
    access_tokens: AccessTokens,
    document: CustomerDocument,
    *,
    body_bytes_max: int,
) -> Litestar:
    """The application that `own_pages.py` calls with whole requests."""

    @get("/openapi.json", media_type=MediaType.JSON, include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        own = request.app.openapi_schema.to_schema()
        return Response(await document.render(own), media_type="application/json")

    @get("/docs", media_type=MediaType.HTML, include_in_schema=False)
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        merged = msgspec.json.decode(await document.render(request.app.openapi_schema.to_schema()))
        return Response(render_docs(merged), media_type=MediaType.HTML)

    return Litestar(
        route_handlers=[IdentityController, openapi, docs],
        dependencies={
            "sign_ups": Provide(lambda: sign_ups, sync_to_thread=False),
            "log_ins": Provide(lambda: log_ins, sync_to_thread=False),
            "access_tokens": Provide(lambda: access_tokens, sync_to_thread=False),
        },
        exception_handlers={RouterRefusal: _refuse, RecursionError: _refuse_depth, Exception: to_response},
        middleware=[PlainRequests],
        before_send=[_add_request_id],
        request_max_body_size=body_bytes_max,
        openapi_config=OpenAPIConfig(
            title="Cell brokerage",
            version="1",
            description=_DESCRIPTION,
            path="/schema",
            render_plugins=[],
        ),
        logging_config=None,
    )


def _refuse(request: Request[Any, Any, Any], refusal: RouterRefusal) -> Response[bytes]:
    problem = Problem(refusal.status, refusal.code, refusal.detail, headers=refusal_headers(refusal))
    return to_response(request, problem)


def _refuse_depth(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    return to_response(request, Problem(400, "INVALID_FIELD", "body: nested too deeply", field="body"))


async def _add_request_id(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
