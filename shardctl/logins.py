"""The tokens of the person who uses the command: one file per service, `$XDG_STATE_HOME/cell-brokerage/tokens/`, 0600.

A token is kept with the service, issuer and audience that it was got for and is used for nothing else, whatever its
context is renamed to. One that has ended is as none.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from infra.runtime.clock import SystemClock
from shardctl.contexts import Elsewhere
from shardctl.control_client import ControlClient, RemoteService
from shardctl.errors import NotAllowed
from shardctl.private_file import own_folder, replace_private

_SPARE_S: Final = 10.0
"""A token that ends within this is not used: it would end on its way."""


@dataclass(frozen=True, slots=True)
class Login:
    """A token, and until when it is worth sending."""

    token: str = field(repr=False)
    ends_at_s: float
    """Seconds since 1970; 0: the issuer did not say, so the service will."""


def login_path(environment: Mapping[str, str], service: Elsewhere) -> Path:
    """By the service, its issuer and its audience."""
    folder = own_folder(environment, "XDG_STATE_HOME", ".local/state") / "tokens"
    named = json.dumps(asdict(service), sort_keys=True)
    return folder / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.json"


def login_until(token: str, life_s: float) -> Login:
    """From now on for so long; 0: the issuer did not say."""
    return Login(token, SystemClock().epoch_s() + life_s if life_s else 0.0)


def keep_login(path: Path, login: Login) -> None:
    """Raises OSError."""
    replace_private(path, json.dumps({"token": login.token, "ends_at_s": login.ends_at_s}))


def find_login(path: Path, now_s: float) -> Login | None:
    """None: there is none, or it has ended. Raises NotAllowed for a file that others may read."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise NotAllowed(f"{path} can be read by others: `shardctl login` again, the old token is not used")
            document = json.loads(file.read())
        found = Login(str(document["token"]), float(document["ends_at_s"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # a damaged one is replaced by the next login
    return None if found.ends_at_s and found.ends_at_s <= now_s + _SPARE_S else found


def forget_login(path: Path) -> bool:
    """Was there one?"""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def open_elsewhere(service: Elsewhere) -> ControlClient:
    """The service, in the name of who logged in there. Raises NotAllowed."""
    login = find_login(login_path(os.environ, service), SystemClock().epoch_s())
    if login is None:
        raise NotAllowed(f"nobody is logged in at {service.url}, or no longer: `shardctl login`")
    return ControlClient(RemoteService(service.url, login.token))
