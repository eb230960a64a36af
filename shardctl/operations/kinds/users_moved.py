"""What an operation that moved users says of each: for the kind's command. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

NAME: Final = "users.move"


def moved_users(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of an operation's steps, as the service tells them: each user with where from and to, how long the pause was, or
    why they stayed. Of one that still runs, those who have been handed over or let go."""
    return [
        {**step["arguments"], "pause_us": step["result"].get("pause_us"), "stayed": step["result"].get("stayed")}
        for step in steps
        if step["action"] == "hand_over" and step["state"] == "done"
    ]
