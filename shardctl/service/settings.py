"""Settings of the control service, from the environment (`CONTROL_...`); which stack, as for a command."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.runtime.settings import ClockSettings, ListenSettings
from shardctl.oidc_settings import OidcSettings


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
