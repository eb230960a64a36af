"""Users by the names that people give them, as the control service finds them."""

from typing import Any
from urllib.parse import urlencode

from shardctl.control_client import ControlClient
from shardctl.control_patience import PatientControl


def find_user(control: ControlClient | PatientControl, name: str) -> dict[str, Any]:
    """Id, bucket and cell; `name` is an id, or the email of a sign-up. Raises Refused for nobody, NotReachable."""
    return control.get(f"/v1/users?{urlencode({'named': name})}")
