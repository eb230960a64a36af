"""Log in by a code that a person confirms in any browser (RFC 8628): the terminal sees no password.

One run of the whole flow; nothing is kept here. The issuer says how often it may be asked, and that is obeyed. While it
does not answer, it is asked again until the code ends. A token is never printed, and an error never quotes an answer
that may hold one. The standard library alone, as everything that a quick command imports.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shardctl.contexts import Elsewhere
from shardctl.errors import NotReachable, Refused
from shardctl.safe_url import is_safe_url

_ANSWER_TIMEOUT_S: Final = 10.0
_BYTES_MAX: Final = 262_144
"""Of an answer: a discovery document has some thousand."""
_INTERVAL_S: Final = 5.0
"""Between two questions if the issuer does not say, and what is added when it says slow down: both are RFC 8628's."""
_INTERVAL_MAX_S: Final = 60.0
_LIFE_MAX_S: Final = 1_800.0
"""Of a code: nobody is still at the browser."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 2.1. Anything else would break the header that carries it, and be shown by the error."""
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Code:
    """What the person is shown."""

    user_code: str
    url: str
    """With the code in it, where the issuer offers that."""


@dataclass(frozen=True, slots=True)
class Granted:
    token: str = field(repr=False)
    expires_in_s: float
    """From now; 0 if the issuer does not say."""


class _Answered(Exception):
    """An OAuth error: its code."""


def log_in(
    service: Elsewhere, show: Callable[[Code], None], *, sleep: Callable[[float], None], monotonic: Callable[[], float]
) -> Granted:
    """Until the person has confirmed. Raises Refused (denied, too late, not offered), NotReachable."""
    endpoints = _discover(service.issuer)
    asked = {"client_id": service.client_id, "scope": "openid", **_for_audience(service.audience)}
    try:
        code = _post(endpoints["device_authorization_endpoint"], asked)
    except _Answered as error:
        raise Refused(f"{service.issuer} gives {service.client_id} no code: {error}") from error
    try:
        shown = Code(str(code["user_code"]), str(code.get("verification_uri_complete") or code["verification_uri"]))
        interval_s = min(float(code.get("interval", _INTERVAL_S)), _INTERVAL_MAX_S)
        ends_at_s = monotonic() + min(float(code.get("expires_in", _LIFE_MAX_S)), _LIFE_MAX_S)
        form = {"grant_type": _GRANT, "device_code": str(code["device_code"]), "client_id": service.client_id}
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"{service.issuer} gives no code that can be confirmed") from error
    show(shown)
    while monotonic() < ends_at_s:
        sleep(interval_s)
        try:
            granted = _post(endpoints["token_endpoint"], form)
        except NotReachable:
            interval_s = min(2 * interval_s, _INTERVAL_MAX_S)  # RFC 8628 3.5
        except _Answered as error:
            match str(error):
                case "authorization_pending":
                    pass
                case "slow_down":
                    interval_s = min(interval_s + _INTERVAL_S, _INTERVAL_MAX_S)
                case "access_denied":
                    raise Refused("the person at the browser said no") from error
                case "expired_token":
                    break
                case other:
                    raise Refused(f"{service.issuer} gives no token: {other}") from error
        else:
            return _granted(service.issuer, granted)
    raise Refused("nobody confirmed the code in time: `shardctl login` again")


def _granted(issuer: str, answer: Mapping[str, Any]) -> Granted:
    token, life_s = answer.get("access_token"), answer.get("expires_in", 0)
    if not (isinstance(token, str) and _TOKEN.fullmatch(token) and type(life_s) in (int, float) and life_s >= 0):
        raise Refused(f"{issuer} answers without an access token")
    return Granted(token, float(life_s))


def _for_audience(audience: str) -> dict[str, str]:
    """Issuers differ: some read `audience`, others RFC 8707's `resource`, which must be a URI."""
    return {"audience": audience, **({"resource": audience} if ":" in audience else {})}


def _discover(issuer: str) -> dict[str, str]:
    """Raises NotReachable, Refused."""
    try:
        document = _ask(urllib.request.Request(issuer.rstrip("/") + _WELL_KNOWN))
    except _Answered as error:
        raise NotReachable(f"{issuer} is no OpenID issuer: {error}") from error
    if document.get("issuer") != issuer:
        raise Refused(f"what is found at {issuer} speaks for another issuer: `shardctl context show`")
    names = ("device_authorization_endpoint", "token_endpoint")
    found = {name: document[name] for name in names if isinstance(document.get(name), str)}
    if len(found) < len(names):
        raise Refused(f"{issuer} offers no login by a code (RFC 8628)")
    if not all(is_safe_url(url) for url in found.values()):
        raise Refused(f"{issuer} would send tokens in the clear")
    return found


def _post(url: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Raises _Answered, NotReachable."""
    return _ask(urllib.request.Request(url, urllib.parse.urlencode(form).encode()))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A form with a code is sent where discovery says and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask(request: urllib.request.Request) -> dict[str, Any]:
    """A JSON object. Raises _Answered with the OAuth code of an error, NotReachable."""
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=_ANSWER_TIMEOUT_S) as answer:
            status, raw = answer.status, answer.read(_BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            status, raw = error.code, error.read(_BYTES_MAX)
    except OSError as error:
        raise NotReachable(f"{request.full_url} does not answer ({error})") from error
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise NotReachable(f"{request.full_url} answers {status} without JSON") from error
    if not isinstance(document, dict):
        raise NotReachable(f"{request.full_url} answers {status} with no object")
    if status != 200:
        raise _Answered(str(document.get("error", status))[:100])
    return document
