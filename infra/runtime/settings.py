"""Groups of settings that several processes share.

Each process has its own settings class with its own prefix (`CELL_`, `ROUTER_`, ...) built once in `__main__` and
passed down; these are the nested groups (`CELL_POSTGRES__DSN`). Passwords never stand here: a DSN names a `passfile`.
"""

from pydantic import BaseModel, Field


class ClockSettings(BaseModel):
    """The clock of a process. All processes of a stack have the same."""

    offset_s: float = 0.0
    """Seconds ahead of the machine's clock: a drill lives through a day of the market without waiting for it. Never
    set where money is real; `shardctl` refuses it for a production stack."""


class PostgresSettings(BaseModel):
    """One PostgreSQL database."""

    dsn: str
    """libpq URI of the service role, with `passfile=` instead of a password."""
    owner_dsn: str | None = None
    """libpq URI of the owner role; only migrations use it."""
    pool_max: int = Field(default=8, ge=1, le=64)
    """Connections per process: eight beat thirty-two on two cores, and every connection costs the server memory."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """To connect, and to wait for a connection of the pool, where the caller's budget does not end earlier."""
    lock_timeout_ms: int = Field(default=1_000, gt=0)
    """Less than the statement timeout, which is less than the HTTP deadline: the inner limit must speak first."""
    statement_timeout_ms: int = Field(default=4_000, gt=0)
    """Between the lock's limit and the HTTP deadline, five seconds."""
    code: str | None = None
    """Schema of this release's routines and views (`release_code.py`), for the sessions' path and names. A process that
    carries the SQL sets it from its own files. None: the DSN's own options say it."""
    clock_offset_s: float = 0.0
    """What the process's own `ClockSettings` say; every session hands it to the database (`brokerage.clock_offset`)."""


class ListenSettings(BaseModel):
    """One listening socket."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    backlog: int = Field(default=2_048, ge=1)
    """Connections that the kernel keeps until they are accepted: those of a reload, or of a burst at the open."""


class KafkaSettings(BaseModel):
    """The event plane. Nothing on the order path waits for it."""

    bootstrap_servers: str
    topic_prefix: str = ""
    """Put before every topic name, so that several stacks can share a broker."""


class RedisSettings(BaseModel):
    """Where the shard map is published."""

    url: str
    timeout_s: float = Field(default=1.0, gt=0)
    """To connect, and for each answer. Nobody who has a map waits for Redis."""
