"""A report as it goes into the inbox: its place in the session, the order it names, and everything it said."""

from dataclasses import dataclass
from uuid import UUID

import msgspec

from cell.executions.wire import Report
from infra.topology.identifiers import parse_uuid


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """`order_id` is None when what the venue names cannot be an order of ours; such a report ends in quarantine."""

    seq: int
    kind: str
    order_id: UUID | None
    body: str

    def set_apart(self) -> "ExecutionReport":
        """The same report with a body that the inbox can always hold; applying it ends in quarantine."""
        body = {"kind": "unreadable", "said": self.kind, "body": self.body.encode().hex()}
        return ExecutionReport(self.seq, self.kind, self.order_id, msgspec.json.encode(body).decode())


def read_report(report: Report, body: bytes) -> ExecutionReport:
    """From the wire. A status answer proves that the venue has the order, and so counts as its acknowledgement.

    It can count as nothing more: what happened to the order came, or will come, in reports of its own, in sequence.
    """
    try:
        order_id = parse_uuid(report.cl_ord_id)
    except ValueError:
        order_id = None
    if report.kind != "status":
        return ExecutionReport(report.seq, report.kind, order_id, body.decode(errors="replace"))
    said = msgspec.json.decode(body, type=dict[str, object])
    said["kind"] = "accepted"
    return ExecutionReport(report.seq, "accepted", order_id, msgspec.json.encode(said).decode())
