"""`shardctl login | logout | whoami`: a person at a control service elsewhere; nobody logs in to their own machine."""

import os
import time

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.contexts import CHECKOUT, Elsewhere
from shardctl.device_login import Code, log_in
from shardctl.errors import NotAllowed, UsageError
from shardctl.logins import forget_login, keep_login, login_path, login_until, open_elsewhere
from shardctl.output import format_duration, print_json, print_line, print_note
from shardctl.settings import read_settings


def login(as_json: AsJson = False) -> None:
    """Log in at the control service of a context: confirm a code in any browser."""
    service = _elsewhere()
    path = login_path(os.environ, service)
    granted = log_in(service, _show, sleep=time.sleep, monotonic=time.monotonic)
    keep_login(path, login_until(granted.token, granted.expires_in_s))
    try:
        person = open_elsewhere(service).get("/v1/whoami")
    except NotAllowed:
        forget_login(path)  # a token that is not taken is no use to anybody but a thief
        raise
    if as_json:
        print_json({"url": service.url, **person, "expires_in_s": granted.expires_in_s})
        return
    for_so_long = f" for {format_duration(granted.expires_in_s)}" if granted.expires_in_s else ""
    print_line(f"logged in at {service.url} as {person['subject']}, {person['role']}{for_so_long}")


def logout(as_json: AsJson = False) -> None:
    """Forget the token of the service that is meant. The browser's own session at the issuer is not ended."""
    service = _elsewhere()
    was_there = forget_login(login_path(os.environ, service))
    if as_json:
        print_json({"url": service.url, "was_logged_in": was_there})
        return
    print_line(f"logged out at {service.url}" if was_there else f"nobody was logged in at {service.url}")


def whoami(as_json: AsJson = False) -> None:
    """Who you are for the control service, as it would be recorded, and your role."""
    person = open_control().get("/v1/whoami")
    if as_json:
        print_json(person)
        return
    print_line(f"{person['subject']}: {person['role']}, by {person['way']}")


def _show(code: Code) -> None:
    print_note(f"open {code.url} in any browser and confirm the code {code.user_code}")


def _elsewhere() -> Elsewhere:
    """Raises UsageError."""
    settings = read_settings()
    if not isinstance(settings.target, Elsewhere):
        raise UsageError(
            "on this machine the operating system says who you are (`shardctl whoami`); to log in elsewhere name its "
            f"context: --context NAME (`shardctl context list`; {settings.context.value or CHECKOUT} is this machine's)"
        )
    return settings.target
