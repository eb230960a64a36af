"""Users by the names that people give them, and what is done to one: both are asked of the control service."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from shardctl.control_client import ControlClient
from shardctl.control_patience import PatientControl
from shardctl.operator_tokens import check_kept


def find_user(control: ControlClient | PatientControl, name: str) -> dict[str, Any]:
    """Id, bucket and cell; `name` is an id, or the email of a sign-up. Raises Refused for nobody, NotReachable."""
    return control.get(f"/v1/users?{urlencode({'named': name})}")


def act_on_user(control: PatientControl, name: str, act: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An act that may be said twice; it is recorded with the id, never with an email. Raises Refused, NotReachable,
    NotAllowed, UsageError, Interrupted."""
    check_kept(body["reason"])
    user_id = find_user(control, name)["user_id"]
    return control.post(f"/v1/users/{user_id}/{act}", body, is_repeatable=True)
