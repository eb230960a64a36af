"""Every command: its words, and the function that it is.

A command is imported when it is used, and what it does not use is imported by others: database drivers, HTTP, Kafka and
Redis cost up to two seconds of processor time. So commands that stand on different ones have different modules, and
what `--help` lists of each stands in the table of completion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    function: str
    """`module:function` in `shardctl.commands`."""
    hidden: bool = False
    """For a back end, not for people."""


@dataclass(frozen=True, slots=True)
class Noun:
    """A group of commands."""

    name: str
    help: str
    verbs: Mapping[str, str]
    """By the second word, as `Verb.function`; in the order of the help."""


MOUNTS: Final[tuple[Noun | Verb, ...]] = (
    Verb("up", "up:up"),
    Verb("down", "down:down"),
    Verb("status", "status:status"),
    Verb("logs", "status:logs"),
    Verb("doctor", "doctor:doctor"),
    Noun(
        "cells",
        "Cells: list, add, cordon, inspect, reconcile, archive.",
        {
            "list": "cells:list_",
            "add": "adding:add",
            "cordon": "cordoning:cordon",
            "uncordon": "cordoning:uncordon",
            "summary": "inspecting:summary",
            "check": "inspecting:check",
            "quarantine": "inspecting:quarantine",
            "reconcile": "reconciliation:reconcile_",
            "reconciliations": "reconciliation:reconciliations",
            "archive": "archiving:archive",
            "retry-report": "retrying:retry_report",
            "unfence": "unfencing:unfence",
            "restored-users": "restored_users:restored_users",
            "release-users": "restored_users:release",
            "rollups": "rollups:rollups",
        },
    ),
    Noun(
        "backup",
        "Backups: create, list, verify, restore, rehearse, prune.",
        {
            "create": "taking_backups:create",
            "list": "backups:list_",
            "verify": "backups:verify",
            "prune": "taking_backups:prune",
            "restore": "restoring:restore",
            "rehearse": "rehearsing:rehearse",
        },
    ),
    Noun(
        "routers",
        "Routers: the map that each serves, and a rolling restart.",
        {
            "list": "routers:list_",
            "restart": "routers:restart",
        },
    ),
    Noun(
        "keys",
        "Signing keys: list, check who holds them, rotate, show public ones.",
        {
            "list": "keys:list_",
            "check": "keys:check",
            "rotate": "keys:rotate",
            "public": "public_keys:public",
        },
    ),
    Noun(
        "map",
        "The shard map: which cell owns which users.",
        {
            "show": "shardmap:show",
            "publish": "publishing:publish",
        },
    ),
    Noun(
        "users",
        "Users: locate, show, change profile, unrestrict, revoke, move.",
        {
            "locate": "locating:locate",
            "show": "users:show",
            "set-profile": "users:set_profile",
            "unrestrict": "users:unrestrict",
            "revoke": "revoking:revoke",
            "move": "moving:move",
            "move-back": "moving:move_back",
            "hold": "move_records:hold",
            "unhold": "move_records:unhold",
            "history": "move_records:history",
            "receipt": "move_records:receipt",
            "verify": "move_records:verify",
        },
    ),
    Noun(
        "transfers",
        "Shares from other brokers that wait for a decision.",
        {
            "list": "transfers:list_",
            "approve": "deciding:approve",
            "refuse": "deciding:refuse",
        },
    ),
    Noun(
        "operations",
        "Operations: list, show, watch, cancel, resume, approve, explain.",
        {
            "list": "operations:list_",
            "show": "operations:show",
            "watch": "operations:watch",
            "cancel": "operations:cancel",
            "resume": "operations:resume",
            "approve": "operations:approve",
            "explain": "operations:explain",
        },
    ),
    Noun(
        "schedules",
        "Schedules: what is begun by the clock, and when it is due next.",
        {
            "list": "schedules:list_",
        },
    ),
    Noun(
        "context",
        "Contexts: list, use, add, remove, show what commands work on.",
        {
            "list": "contexts:list_",
            "use": "contexts:use",
            "add": "contexts:add",
            "remove": "contexts:remove",
            "show": "contexts:show",
        },
    ),
    Verb("login", "login:login"),
    Verb("logout", "login:logout"),
    Verb("whoami", "login:whoami"),
    Noun(
        "config",
        "Settings: show them, and where each comes from.",
        {
            "show": "config:show",
        },
    ),
    Noun(
        "audit",
        "Audit: who did what, when, why, and how it ended; prove it, export it.",
        {
            "list": "audit:list_",
            "verify": "verifying:verify",
            "export": "exporting:export",
        },
    ),
    Noun(
        "exchange",
        "The exchange of this stack: tapes, orders, prices.",
        {
            "load-tape": "loading_tapes:load_tape",
            "tapes": "exchange:tapes",
            "summary": "exchange:summary",
        },
    ),
    Noun(
        "events",
        "Events of a cell in Kafka: show, follow, count.",
        {
            "tail": "events:tail",
            "count": "counting_events:count",
        },
    ),
    Verb("serve", "serving:serve", hidden=True),
    Verb("completion-table", "tree:print_completion_table", hidden=True),
    Verb("migrate", "serving:migrate", hidden=True),
    Verb("version", "version:version"),
    Noun(
        "help",
        "Topics: exit-codes.",
        {
            "exit-codes": "exit_codes:exit_codes",
        },
    ),
)
