"""Persons whom the organisation's issuer knows: as the control service takes it, and as a file of `up --oidc` says it.

The file is TOML with the names of the settings; what it says goes into the stack's record, so it is read once and may
be gone. It holds no secret: the certificate's key stays in a file of its own, of which the record has the path.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from infra.runtime.settings import ListenSettings
from infra.security.roles import Role
from shardctl.errors import UsageError
from shardctl.safe_url import LOOPBACK, is_safe_url


class OidcSettings(BaseModel, frozen=True):
    """Persons whom the organisation's issuer knows, and the port where they ask."""

    issuer: str
    """URL, exactly as it stands in its tokens; HTTPS, or on this machine."""
    audience: str = Field(min_length=1)
    """For whom a token must be."""
    roles: Mapping[str, Role]
    """Which role a value of the role claim gives; who has several has the highest."""
    role_claim: str = "roles"
    """Dots lead into objects: `realm_access.roles`."""
    leeway_s: float = Field(default=30.0, ge=0, le=120)
    """How far the issuer's clock and ours may differ."""
    listen: ListenSettings
    tls_cert: Path | None = None
    """PEM, with the chain. Without it the port listens to this machine only: whoever sees a bearer token has it."""
    tls_key: Path | None = None

    @field_validator("issuer")
    @classmethod
    def _issuer_is_safe(cls, issuer: str) -> str:
        if not is_safe_url(issuer):
            raise ValueError("an issuer is asked over HTTPS, or on this machine")
        return issuer

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if self.tls_cert is None and self.listen.host not in LOOPBACK:
            raise ValueError(f"tokens would be readable on the way to {self.listen.host}: tls_cert and tls_key are due")
        return self


_IN_FILE = frozenset(OidcSettings.model_fields)
_IN_LISTEN = frozenset({"host", "port"})


def read_oidc(path: Path) -> dict[str, str]:
    """What a file says, by the settings' names behind `CONTROL_OIDC__`, all of them. Paths count from the file's
    folder. Raises UsageError."""
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    _refuse_unknown(path, told, _IN_FILE)
    if isinstance(told.get("listen"), dict):
        _refuse_unknown(path, told["listen"], _IN_LISTEN)
    for name in ("tls_cert", "tls_key"):
        if isinstance(told.get(name), str):
            told[name] = path.absolute().parent / told[name]
    try:
        oidc = OidcSettings.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    return _as_settings(oidc)


def _as_settings(oidc: OidcSettings) -> dict[str, str]:
    files = {} if oidc.tls_cert is None else {"TLS_CERT": str(oidc.tls_cert), "TLS_KEY": str(oidc.tls_key)}
    return {
        "ISSUER": oidc.issuer,
        "AUDIENCE": oidc.audience,
        "ROLES": json.dumps(dict(oidc.roles), sort_keys=True),
        "ROLE_CLAIM": oidc.role_claim,
        "LEEWAY_S": f"{oidc.leeway_s:g}",
        "LISTEN__HOST": oidc.listen.host,
        "LISTEN__PORT": str(oidc.listen.port),
        **files,
    }


def _refuse_unknown(path: Path, told: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in told:
        if name not in known:
            raise UsageError(f"{path}: {name} is no setting; there are: {', '.join(sorted(known))}")
