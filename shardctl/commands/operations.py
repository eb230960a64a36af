"""`shardctl operations ...`: list, show, watch, cancel, resume, approve, explain."""

import sys
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Reason, Timeout, conclude, open_control
from shardctl.commands.submitting import watch as watch_to_its_end
from shardctl.output import print_json, print_line, print_table

Number = Annotated[int, typer.Argument(help="The number in `shardctl operations list`.", min=1)]


_FACTS = (
    "actor", "reason", "approved_by", "cancel_asked_by", "created_at", "started_at", "ended_at", "exit_code", "detail",
)  # fmt: skip


def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many of the newest.")] = 20,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind, as cells.add.")] = None,
    active: Annotated[bool, typer.Option("--active", help="Only those that have not ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest operations first: what, by whom, its state and exit code."""
    asked = {"limit": limit, "active": str(active).lower(), **({"kind": kind} if kind else {})}
    items = open_control().get(f"/v1/operations?{urlencode(asked)}")["items"]
    if as_json:
        print_json(items)
        return
    columns = ("operation>", "kind", "target", "state", "exit>", "by", "at", "detail")
    print_table(columns, [_row(item) for item in items])


def show(number: Number, as_json: AsJson = False) -> None:
    """One operation and its steps: state, attempts, what went wrong."""
    found = open_control().get(f"/v1/operations/{number}")
    if as_json:
        print_json(found)
        return
    print_line(f"operation {number}: {found['kind']} {found['target']}, {found['state']}", style="bold")
    print_table(("", ""), [(name.replace("_", " "), found[name]) for name in _FACTS if found[name] is not None])
    columns = ("step>", "what", "state", "attempts>", "detail")
    rows = [(step["position"], step["key"], step["state"], step["attempts"], step["detail"]) for step in found["steps"]]
    print_table(columns, rows)


def watch(number: Number, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Follow it to its end, with its exit code; lines of JSON when piped. Ctrl-C detaches: it goes on (exit code 8)."""
    control = open_control()
    watch_to_its_end(control.client, number, timeout_s=timeout, lines=as_json or not sys.stdout.isatty())
    conclude(control.get(f"/v1/operations/{number}"))


def cancel(number: Number, reason: Reason = None, as_json: AsJson = False) -> None:
    """Stop it after the step in hand, and undo what was done where its kind knows how. Exit code 5: too late."""
    _changed(number, "cancel", reason, as_json=as_json)


def resume(number: Number, reason: Reason = None, as_json: AsJson = False) -> None:
    """A failed operation goes on at the step that failed. One that runs resumes by itself; then nothing is done."""
    _changed(number, "resume", reason, as_json=as_json)


def approve(number: Number, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let an operation begin that another person asked for."""
    _changed(number, "approve", reason, as_json=as_json)


def explain(number: Number, as_json: AsJson = False) -> None:
    """In sentences: what it does, how far it is, what happens next, what you can do."""
    sentences = explained(open_control().get(f"/v1/operations/{number}"))
    if as_json:
        print_json({"operation_id": number, "sentences": sentences})
        return
    for line in sentences:
        print_line(line)


def explained(found: dict[str, Any]) -> list[str]:
    """The sentences. Pure."""
    number, steps = found["operation_id"], found["steps"]
    done = [step for step in steps if step["state"] == "done"]
    lines = [
        f"Operation {number} is {found['kind']} on {found['target']}, asked for by {found['actor']}"
        + (f": {found['reason']}." if found["reason"] else "."),
        f"{len(done)} of {len(steps)} steps are done.",
    ]
    current = next((step for step in steps if step["state"] in ("running", "failed", "undoing")), None)
    if current:
        tried = f" (attempt {current['attempts']} of {current['attempts_max']})"
        said = f": {current['detail']}" if current["detail"] else ""
        lines.append(f"Step {current['position']}, {current['key']}, is {current['state']}{tried}{said}.")
    sealed = any(step["is_irrevocable"] and step["state"] != "pending" for step in steps)
    lines.append(_next(found["state"], number, sealed=sealed, detail=found["detail"]))
    return lines


def _next(state: str, number: int, *, sealed: bool, detail: str | None) -> str:
    undone = "it is too late to cancel it" if sealed else f"`shardctl operations cancel {number}` stops and undoes it"
    match state:
        case "awaiting_approval":
            return f"It waits for another person: `shardctl operations approve {number}`."
        case "pending" | "running":
            return f"It goes on by itself, also after a crash of the control service; {undone}."
        case "cancelling":
            return "What was done is being undone, newest first; that goes on by itself."
        case "failed":
            return f"It failed ({detail}). `shardctl operations resume {number}` goes on at that step; {undone}."
        case "refused":
            return "Nothing was done: what it was planned for had changed. Ask for it again."
        case _:
            return f"It has {state}; nothing is left to do."


def _changed(number: int, verb: str, reason: str | None, *, as_json: bool) -> None:
    answer = open_control().post(f"/v1/operations/{number}/{verb}", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    print_line(f"operation {number} is {answer['state']}: `shardctl operations watch {number}`")


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    at = item["created_at"][:19].replace("T", " ")
    return (
        item["operation_id"], item["kind"], item["target"], item["state"], item["exit_code"], item["actor"], at,
        item["detail"],
    )  # fmt: skip
