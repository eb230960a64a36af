"""Settings of the control service, from the environment (`CONTROL_...`); which stack, as for a command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.runtime.settings import ClockSettings, ListenSettings
from infra.security.roles import Role
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


class ControlSettings(BaseSettings):
    """Built once by `shardctl serve` and passed down."""

    model_config = SettingsConfigDict(env_prefix="CONTROL_", env_nested_delimiter="__", extra="ignore", frozen=True)

    name: str = "control"
    dsn: str
    """Of the role `control_leader`, with `passfile=` instead of a password."""
    socket: Path
    """Where commands connect; made with mode 0600, so whoever may open it is root or the stack's owner."""
    operator: ListenSettings
    clock: ClockSettings = ClockSettings()
    pool_max: int = Field(default=12, ge=4)
    """Eight operations at once, the lease's renewal, and those who ask."""
    lease_life_s: float = Field(default=15.0, gt=1)
    """How long nobody leads after a leader's death; long enough for a machine that is busy for some seconds."""
    lease_renewed_each_s: float = Field(default=5.0, gt=0)
    """Twice more before it ends."""
    poll_s: float = Field(default=0.5, gt=0)
    """How late an operation is taken up that another process of the service was asked for."""
    operations_at_once: int = Field(default=8, ge=1)
    """More only wait: for a cell, for the stack's lock, or for each other."""
    approvals: frozenset[str] = frozenset()
    """Kinds of operations that a second person must approve before they begin."""
    oidc: OidcSettings | None = None
    """None: nobody is let in but by the socket."""
    log_level: str = "INFO"
    log_warning_tracebacks: bool = False
    """Warnings carry a traceback too, as errors always do: for who looks for the reason of one."""
