"""The router's settings, from the environment (`ROUTER_...`), read once in `__main__`. Every limit has a unit and
a reason."""

from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.runtime.settings import ListenSettings, RedisSettings


class ControlSettings(BaseModel):
    """The control database: sign-up, login by email, and a source of the map. Known users never wait for it."""

    dsn: str
    pool_max: int = Field(default=4, ge=1, le=32)
    timeout_s: float = Field(default=2.0, gt=0)


class UpstreamSettings(BaseModel):
    """How the router treats one cell, so that a sick one costs nobody else anything."""

    in_flight_max: int = Field(default=256, ge=1)
    """Requests inside one cell at once: its batcher gains nothing from more, and a hung cell holds no more than
    these."""
    queue_max: int = Field(default=512, ge=0)
    """Requests waiting for a place; beyond that the cell is overloaded and waiting only makes the answer late."""
    queue_wait_s: float = Field(default=1.0, gt=0)
    connect_timeout_s: float = Field(default=1.0, gt=0)
    """Same machine room: a connection takes a millisecond; the rest is for a busy machine."""
    deadline_s: float = Field(default=8.0, gt=0)
    """Longer than the cell's own statement timeout, so the cell speaks first."""
    idle_max_s: float = Field(default=4.0, gt=0)
    """Shorter than the cell's keep-alive, so a connection is rarely closed under a request."""
    breaker_failures: int = Field(default=5, ge=1)
    breaker_open_s: float = Field(default=1.0, gt=0)


class HoldSettings(BaseModel):
    """Writes of a halted user that wait for the end of his move."""

    wait_s: float = Field(default=2.0, gt=0)
    """Twice the usual lease on a moving user; together with the deadline of an exchange it stays below what clients
    wait."""
    waiting_per_user_max: int = Field(default=32, ge=0)
    """What one customer can have under way in the second that a move may take; beyond it is no customer's hand."""
    waiting_max: int = Field(default=1_024, ge=0)
    """Of all users: with bodies of the largest size 64 MiB."""


class EdgeSettings(BaseModel):
    """What a client may send."""

    body_bytes_max: int = Field(default=65_536, ge=1)
    head_bytes_max: int = Field(default=16_384, ge=1_024)
    header_count_max: int = Field(default=100, ge=1)
    target_bytes_max: int = Field(default=4_096, ge=64)
    keep_alive_s: float = Field(default=75.0, gt=0)
    drain_idle_s: float = Field(default=1.0, gt=0)
    """While draining: a keep-alive connection that was silent for this long is closed; who was about to speak still
    gets an answer."""
    request_read_s: float = Field(default=15.0, gt=0)
    """From the first byte of a request to its last: a client that drips bytes is cut off."""


class RouterSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ROUTER_", env_nested_delimiter="__", frozen=True)

    name: str = "router-1"
    listen: ListenSettings
    operator: ListenSettings
    control: ControlSettings
    redis: RedisSettings
    map_file: Path
    keys_dir: Path
    upstream: UpstreamSettings = UpstreamSettings()
    edge: EdgeSettings = EdgeSettings()
    hold: HoldSettings = HoldSettings()
    map_poll_s: float = Field(default=5.0, gt=0)
    route_token_ttl_s: int = Field(default=300, ge=10, le=300)
    """Half of the age at which an unfinished sign-up is freed: no creation can arrive after that."""
    routes_cached_max: int = Field(default=200_000, ge=1)
    """Verified access tokens held in memory, about 1 KB each."""
    drain_s: float = Field(default=10.0, gt=0)
    """Longer than the deadline of a request, shorter than the supervisor's patience."""
    drain_notice_s: float = Field(default=0.0, ge=0)
    """How long to go on accepting while already not ready. Where a balancer probes readiness: its interval, so that
    it has gone elsewhere before the socket closes."""
    listen_fd: int | None = None
    """The listening socket of the process image before this one (a reload); never set by hand."""
