"""Ask the control service for an operation and watch it: what commands whose work has several steps have in common.

Ctrl-C detaches: the operation goes on, and the message says how to come back (exit code 8).
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from shardctl.contexts import Elsewhere
from shardctl.control_client import ControlClient
from shardctl.control_patience import PatientControl
from shardctl.errors import Blocked, Exit, Refused, ShardctlError, StillRunning, exit_of
from shardctl.logins import open_elsewhere
from shardctl.output import print_json, print_line, print_note, print_table, print_warning, progress_console
from shardctl.settings import read_settings
from shardctl.stack.current import open_stack
from shardctl.watching import follow

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the list of steps that would run; do nothing.")]
Detach = Annotated[bool, typer.Option("--no-wait", help="Return when it is recorded; it goes on (exit code 8).")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for its end; then it goes on (8).", min=0)]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same key and request again is the same operation.")
]
Expected = Annotated[
    str | None, typer.Option("--expect", help="The hash that --dry-run showed: refused (5) if anything has changed.")
]
Reason = Annotated[str | None, typer.Option(help="Why; kept with your name.")]
NeededReason = Annotated[str, typer.Option("--reason", help="Why; kept with your name.")]
"""Of what changes the state of a cell or of persons; the service asks for it too (`Kind.needs_reason`)."""


def open_control() -> PatientControl:
    """The control service that is meant. Raises NotReachable without a stack, NotAllowed without a login elsewhere."""
    target = read_settings().target
    if isinstance(target, Elsewhere):  # whether it runs is not seen from here
        return PatientControl(open_elsewhere(target), runs=lambda: False, waiting=print_note, skewed=print_warning)
    backend = open_stack()
    client = ControlClient(backend.control_socket)
    return PatientControl(
        client, runs=lambda: asyncio.run(backend.is_running()), waiting=print_note, skewed=print_warning
    )


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How an operation is asked for and waited for, as the options say."""

    reason: str | None = None
    dry_run: bool = False
    wait: bool = True
    timeout_s: float | None = None
    key: str | None = None
    expected: str | None = None
    as_json: bool = False
    """Nothing but one document on standard output; no progress."""
    show_preview: Callable[[Mapping[str, Any]], None] | None = None
    """What a dry run shows besides the steps, where its kind tells more."""


def submit(kind: str, arguments: Mapping[str, Any], options: SubmitOptions) -> dict[str, Any] | None:
    """The operation at its end, with its steps; None after a dry run. Raises what the operation's exit code means."""
    ended = submit_and_watch(kind, arguments, options)
    if ended is not None:
        conclude(ended)
    return ended


def submit_and_watch(kind: str, arguments: Mapping[str, Any], options: SubmitOptions) -> dict[str, Any] | None:
    """As `submit`, but the end is the caller's to judge (`conclude`). Raises StillRunning with `--no-wait`,
    Blocked if somebody must approve it first."""
    control = open_control()
    body = {
        "kind": kind,
        "arguments": dict(arguments),
        "reason": options.reason,
        # One is always given, so that a request whose answer was lost is not a second operation.
        "idempotency_key": options.key or secrets.token_hex(16),
        "expected": options.expected,
        "dry_run": options.dry_run,
    }
    answer = control.post("/v1/operations", body, is_repeatable=True)
    if options.dry_run:
        show_plan(answer, as_json=options.as_json, show_preview=options.show_preview)
        return None
    number = answer["operation_id"]
    if control.get(f"/v1/operations/{number}")["state"] == "awaiting_approval":
        raise Blocked(
            f"operation {number} is recorded and waits for another person: `shardctl operations approve {number}`; "
            f"`shardctl operations watch {number}` follows it"
        )
    if not options.wait:
        raise StillRunning(f"operation {number} is recorded: `shardctl operations watch {number}`")
    watch(control.client, number, timeout_s=options.timeout_s, quiet=options.as_json)
    return control.get(f"/v1/operations/{number}")


def show_plan(
    plan: Mapping[str, Any], *, as_json: bool, show_preview: Callable[[Mapping[str, Any]], None] | None = None
) -> None:
    if as_json:
        print_json(plan)
        return
    rows = [
        (step["position"], step["key"], "cannot be cancelled" if step["is_irrevocable"] else "")
        for step in plan["steps"]
    ]
    print_line(f"{plan['kind']} {plan['target']}: nothing is done yet", style="bold")
    print_table(("step>", "what", "from here on"), rows)
    if show_preview is not None:
        show_preview(plan["preview"])
    print_line(f"run exactly this, or nothing: --expect {plan['state_hash']}")


def watch(
    client: ControlClient, number: int, *, timeout_s: float | None = None, quiet: bool = False, lines: bool = False
) -> dict[str, Any]:
    """To its end. `lines`: each event as one line of JSON on standard output; else progress on standard error. Raises
    StillRunning at the end of `timeout_s` and at Ctrl-C, NotReachable."""
    begun = time.monotonic()
    until_s = None if timeout_s is None else begun + timeout_s
    try:
        for item in follow(client, number, until_s=until_s):
            if lines:
                sys.stdout.write(json.dumps(item) + "\n")
                sys.stdout.flush()
            if "event" not in item:
                return item
            if not quiet and not lines:
                _show_event(item, time.monotonic() - begun)
    except KeyboardInterrupt as error:
        raise StillRunning(f"detached; operation {number} goes on: `shardctl operations watch {number}`") from error
    raise AssertionError("it ends with the operation")


def conclude(ended: Mapping[str, Any]) -> None:
    """Raises what the exit code of an operation that has ended (with its steps) means; returns for 0."""
    if ended["exit_code"] == Exit.DONE:
        return
    number, detail = ended["operation_id"], ended["detail"] or ended["state"]
    is_stuck = any(step["state"] == "failed" for step in ended["steps"])
    resume = f": `shardctl operations resume {number}`" if is_stuck else ""
    error: ShardctlError = Refused(f"operation {number} {ended['state']}: {detail}{resume}")
    error.exit_code = exit_of(ended["exit_code"])
    raise error


def _show_event(event: Mapping[str, Any], elapsed_s: float) -> None:
    words = event["event"].replace("_", " ")
    subject = f"{event['step']}: {words.removeprefix('step ')}" if event["step"] else words
    detail = f"  {event['detail']}" if event["detail"] else ""
    progress_console.print(f"{elapsed_s:5.1f} s  {subject}{detail}", markup=False, highlight=False, soft_wrap=True)
