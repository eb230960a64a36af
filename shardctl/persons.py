"""Who asks something of the control plane: a name that is recorded, a role, and how the person was recognised."""

import os
import pwd
from dataclasses import dataclass
from enum import StrEnum

from infra.security.roles import Role
from shardctl.errors import NotAllowed


class Way(StrEnum):
    SOCKET = "socket"
    """The operating system says who is at the other end of the service's socket."""
    OIDC = "oidc"
    """A token of the organisation's issuer says it."""
    SCHEDULE = "schedule"
    """Nobody: the clock."""


@dataclass(frozen=True, slots=True)
class Person:
    subject: str
    """As it is recorded, and unique over all ways: the user of the operating system, or `oidc:` and the issuer's
    subject."""
    role: Role
    way: Way

    def need(self, least: Role) -> None:
        """Raises NotAllowed, naming both roles."""
        if not self.role.may(least):
            raise NotAllowed(f"this needs the role {least}, and {self.subject} has {self.role}")


def name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def os_user() -> str:
    """As whom this process runs, by the operating system; no variable changes it."""
    return name_of_user(os.geteuid())
