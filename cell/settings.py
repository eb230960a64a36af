"""Settings of every process of a cell, from the environment (`CELL_...`), read once in `__main__`."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cell.order_log import ONE_IN
from infra.runtime.release_code import release_code
from infra.runtime.settings import ClockSettings, KafkaSettings, ListenSettings, PostgresSettings


class ExchangeSettings(BaseModel):
    """The venue that the worker speaks to."""

    address: str = "127.0.0.1:0"
    """host:port of its framed socket."""


class CellSettings(BaseSettings):
    """One cell's identity, addresses and rules."""

    model_config = SettingsConfigDict(env_prefix="CELL_", env_nested_delimiter="__", extra="ignore")

    name: str
    incarnation: str = ""
    """Which restore made the database that belongs here (`brokerage.incarnations`); empty: none did."""
    postgres: PostgresSettings
    mover_dsn: str | None = None
    """libpq URI of the role that carries moving users (`cell_mover`); None: this process moves nobody."""
    source_dsn: str | None = None
    """For `compare-copy`: the cell whose restored copy the database above is."""
    listen: ListenSettings = ListenSettings(port=0)
    operator: ListenSettings = ListenSettings(port=0)
    keys_dir: Path
    own_keys_dir: Path | None = None
    """What this cell alone signs certificates with (`infra/security/cell_keys.py`), for its app servers and its worker;
    `keys_dir` holds the directory of all cells' public keys."""
    kafka: KafkaSettings = KafkaSettings(bootstrap_servers="127.0.0.1:9092")
    exchange: ExchangeSettings = ExchangeSettings()
    clock: ClockSettings = ClockSettings()
    log_warning_tracebacks: bool = False
    """Warnings carry a traceback too, as errors always do: for who looks for the reason of one."""
    log_orders_one_in: int = Field(default=ONE_IN, ge=1)
    """Of all orders, those that leave a line at each step; 1 while an operator follows one order."""

    market_hours: Literal["XNYS", "always"] = "XNYS"
    new_user_profile: Literal["retail", "professional"] = "retail"
    share_transfers: Literal["approve", "accept"] = "approve"
    """What happens to shares arriving from another broker: an operator approves them, or they post at once (local)."""
    reference_price_age_max_s: float = Field(default=60.0, gt=0)
    """An older reference price sizes no market order."""

    user_connections_max: int = Field(default=2, ge=1)
    """Connections that one user's reads, previews and sessions may have at once in one process. Of `pool_max` the
    calls of commands and a probe keep theirs; what is left is for all users, and one user leaves some of it."""
    user_waiting_max: int = Field(default=128, ge=0)
    """Of one user's requests, those that may wait for one: about a quarter of a second of reading."""
    waiting_max: int = Field(default=1_024, ge=0)
    """Of everybody's; the user with the most waiting yields first."""
    batch_max: int = Field(default=64, ge=1, le=64)
    """Commands per procedure call: 128 and 256 were slower, and one call holds that many users' locks."""
    flights_max: int = Field(default=2, ge=1, le=8)
    """Procedure calls in flight: a second hides the first one's commit; more only split the batches."""
    held_user_wait_ms: int = Field(default=200, ge=1)
    """How long an isolated command waits for its user's row, keeping one call from everybody else."""
    queue_max: int = Field(default=4_096, ge=1)
    """Commands waiting in one process, about half a second of work; beyond it the answer is 503 OVERLOADED."""
    user_queue_max: int = Field(default=256, ge=1)
    """Commands of one user waiting in one process."""
    command_deadline_s: float = Field(default=5.0, gt=0)
    """From arrival to answer, resends after a lost connection included; beyond it the answer is OUTCOME_UNKNOWN."""
    body_max_bytes: int = Field(default=65_536, ge=1_024)
    """An order has some 300 bytes, and the router lets no more through."""
    refresh_token_days: int = Field(default=30, ge=1)
    """After the last login or refresh, a person logs in again."""
    idempotency_days: int = Field(default=7, ge=7)
    """Kept at least this long, as are ended logins; the worker prunes what is older in small steps."""
    rollup_days: int = Field(default=8, ge=1)
    """Minutes are kept so long: the same weekday of last week can be laid beside today."""

    @model_validator(mode="after")
    def _sessions(self) -> Self:
        """The database's sessions have this process's clock, and the code of the release whose files it carries."""
        facts = {"clock_offset_s": self.clock.offset_s, "code": release_code("cell").schema}
        self.postgres = self.postgres.model_copy(update=facts)
        return self
