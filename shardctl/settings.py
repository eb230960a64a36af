"""Which stack a command works on and who is recorded, from the environment (`SHARDCTL_...`). The flag `--stack` sets
`SHARDCTL_STACK`.
"""

import re
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.backends.catalog import state_root
from infra.backends.checkout import default_stack_name
from shardctl.errors import UsageError

_STACK_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")


class ShardctlSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHARDCTL_", extra="ignore")

    stack: str = ""
    """Empty: the stack of this checkout."""
    state_dir: Path | None = None
    backend: str = ""
    """Name in `infra.backends.catalog`; empty: where the stack was made, and `local` for a new one."""
    actor: str = ""
    """Who is recorded for a change; empty: the operating system's user."""

    @property
    def stack_name(self) -> str:
        """The stack that is meant. Raises UsageError."""
        name = self.stack or default_stack_name()
        if not _STACK_NAME.match(name):
            raise UsageError(f"{name!r} is not a stack name: lower case letters, digits and dashes, at most 40")
        return name

    @property
    def state_root(self) -> Path:
        return (self.state_dir or state_root()).expanduser().absolute()
