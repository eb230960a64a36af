"""Settings of the exchange, from the environment (`EXCHANGE_LISTEN__PORT`, ...)."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.runtime.settings import ClockSettings, ListenSettings


class ExchangeSettings(BaseSettings):
    """Built once in `__main__` and passed down."""

    model_config = SettingsConfigDict(env_prefix="EXCHANGE_", env_nested_delimiter="__", extra="ignore")

    listen: ListenSettings
    """Where cells connect."""
    operator: ListenSettings
    data_dir: Path
    """Holds the durable log. Deleting it makes another exchange, with another past."""
    keys_dir: Path
    """Where `operator-verify.json` is: operator tokens are checked with it."""
    clock: ClockSettings = ClockSettings()
    seed: int = Field(default=1, ge=0)
    """Decides prices and what happens to paper orders."""
    market_hours: Literal["XNYS", "always"] = "always"
    """In sessions, day orders expire at the close, and outside of a session nothing trades."""
    tape_bytes_max: int = Field(default=128 * 1024 * 1024, gt=0)
    """Largest tape that may be loaded: a full day of one symbol is about 20 MB."""
    log_level: str = "INFO"
    log_warning_tracebacks: bool = False
    """Warnings carry a traceback too, as errors always do: for who looks for the reason of one."""
