"""The state machine of a move in its two cells, in memory: what the mover's property tests run against.

It is a model of the protocol, not of a cell: a user's rows are numbers, a frame carries those that changed. It keeps
what the mover relies on and nothing else: who owns the user, halts with a lease, compare-and-set at departure, the
order of requests, the fence of leases. Every rule that the tests prove something by is asserted where it would break.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shardctl.moves.side import Away, LeaseOver, Page, SideRefused
from shardctl.moves.states import Side, read_side
from shardctl.operations.errors import LeaseLost

USER = UUID("00000000-0000-4000-8000-000000000001")
PAGE_ROWS = 2


def conflict(detail: str) -> SideRefused:
    return SideRefused(detail, 409, "MOVE_CONFLICT")


def digest(rows: Mapping[str, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(rows.items())).encode()).hexdigest()


@dataclass
class Source:
    """Owns the user at first. Rows change at a sequence; `write` is the customer."""

    now: Callable[[], float]
    rows: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    write_seq: int = 0
    mark: str | None = None
    halt_id: str | None = None
    lease_ends: float = 0.0
    certificates: dict[str, str] = field(default_factory=dict)
    open_orders: int = 0
    acknowledged: set[str] = field(default_factory=set)

    @property
    def owns(self) -> bool:
        return not self.certificates

    def write(self, row: str) -> bool:
        """False: halted, or the user is not here any more."""
        if not self.owns or (self.halt_id is not None and self.now() < self.lease_ends):
            return False
        self.halt_id = None
        self.write_seq += 1
        self.rows[row] = self.rows.get(row, 0) + 1
        self.changed[row] = self.write_seq
        return True

    def frame(self, move: str, kind: str, since: int, attest: str | None, rows: Mapping[str, int]) -> bytes:
        head = {"write_seq": self.write_seq, "chain_head": digest(self.rows)}
        tables = [
            {
                "table": "rows", "columns": ["row", "value"], "rows": len(rows), "bytes": 0, "replaces": True,
                "digest": digest(self.rows) if attest == "all" or (attest and rows) else None,
                "total_rows": len(self.rows),
            }
        ]  # fmt: skip
        header = {
            "format": 1, "move_id": move, "user_id": str(USER), "kind": kind, "snapshot": str(self.write_seq)
            if kind != "page" else None, "head": head if attest else None, "attest": attest, "tables": tables,
            "changed_rows": len(rows) if kind != "page" else 0,
        }  # fmt: skip
        encoded = json.dumps(header).encode()
        return len(encoded).to_bytes(4, "big") + encoded + json.dumps(dict(rows)).encode()

    def since(self, since: int) -> dict[str, int]:
        return {row: self.rows[row] for row, at in self.changed.items() if at > since}

    def do(self, move: str, verb: str, body: Mapping[str, Any]) -> Any:
        if verb == "begin":
            if move in self.certificates:
                raise conflict("departed")
            if not self.owns:
                raise SideRefused("departed", 421, "MISDIRECTED")
            if self.mark not in (None, move):
                raise conflict("another operation has the user")
            if self.open_orders:
                raise SideRefused("orders at the venue", 409, "MOVE_UNFINISHED_BUSINESS")
            self.mark = move
            return {
                "tables": {"rows": len(self.rows)}, "rows": len(self.rows), "bytes": 8, "write_seq": self.write_seq,
                "snapshot": str(self.write_seq),
            }  # fmt: skip
        if verb == "release":
            if move in self.certificates:
                raise conflict("departed")
            if self.mark == move:
                self.mark = self.halt_id = None
            return {}
        if verb == "acknowledge":
            if move not in self.certificates:
                raise SideRefused("no such departure", 404, "MOVE_UNKNOWN")
            self.acknowledged.add(body["what"])
            return {}
        if verb == "depart" and move in self.certificates:
            return {"certificate": self.certificates[move]}
        if self.mark != move or not self.owns:
            raise SideRefused("this move does not have the user", 404, "MOVE_UNKNOWN")
        if verb == "read":
            return self._page(move, body)
        if verb == "catch-up":
            return Page(self.frame(move, "catch_up", 0, "all", self.since(int(body["since"]))), None)
        if verb == "halt":
            if self.halt_id not in (None, body["halt_id"]) and self.now() < self.lease_ends:
                raise conflict("halted")
            self.halt_id, self.lease_ends = body["halt_id"], self.now() + body["lease_ms"] / 1000
            return Page(self.frame(move, "halt", 0, "changed", self.since(int(body["since"]))), None)
        assert verb == "depart", verb
        if self.halt_id != body["halt_id"] or self.now() >= self.lease_ends:
            raise LeaseOver("the halt ended", 409, "LEASE_OVER")
        if body["proof"]["head"]["write_seq"] != self.write_seq:
            raise conflict("changed")
        assert body["proof"]["head"]["chain_head"] == digest(self.rows), "left by a proof of another state"
        self.certificates[move] = json.dumps({"move": move, "digest": digest(self.rows)})
        self.mark = self.halt_id = None
        return {"certificate": self.certificates[move]}

    def _page(self, move: str, body: Mapping[str, Any]) -> Page:
        begin = body["place"] or 0
        names = sorted(self.rows)
        chosen = names[begin : begin + PAGE_ROWS]
        page = self.frame(move, "page", 0, None, {row: self.rows[row] for row in chosen})
        return Page(page, begin + PAGE_ROWS if begin + PAGE_ROWS < len(names) else None)

    def look(self, move: str) -> Side:
        if move in self.certificates:
            return read_side({"state": "departed", "certificate": self.certificates[move]})
        if self.mark != move:
            return read_side({"state": "none", "certificate": None})
        halted = self.halt_id is not None and self.now() < self.lease_ends
        return read_side({"state": "halted" if halted else "copying", "certificate": None})


@dataclass
class Target:
    rows: dict[str, int] = field(default_factory=dict)
    head: dict[str, Any] | None = None
    arriving: str | None = None
    active: str | None = None
    epoch: int | None = None
    is_corrupting: bool = False
    """It stores something else than it was sent."""

    def do(self, move: str, verb: str, body: Any) -> Any:
        if verb == "arrive":
            if self.active or self.arriving not in (None, move):
                raise conflict("owned, or arriving by another move")
            self.arriving, self.epoch = move, body["ownership_epoch"]
            return {"state": "arriving"}
        if verb == "discard":
            if self.active == move:
                raise conflict("active")
            if self.arriving == move:
                self.rows, self.arriving, self.head = {}, None, None
            return {}
        if verb == "activate":
            if self.active != move:
                if self.arriving != move:
                    raise SideRefused("no such arrival", 404, "MOVE_UNKNOWN")
                assert json.loads(body["certificate"]) == {"move": move, "digest": digest(self.rows)}, "another copy"
                self.active, self.arriving = move, None
            return {"state": "active", "ownership_epoch": self.epoch, "write_seq": (self.head or {}).get("write_seq")}
        if self.arriving != move:
            raise SideRefused("no such arrival", 404, "MOVE_UNKNOWN")
        return self._load(body)

    def _load(self, frame: bytes) -> dict[str, Any]:
        length = int.from_bytes(frame[:4], "big")
        header, rows = json.loads(frame[4 : 4 + length]), json.loads(frame[4 + length :])
        self.rows.update({row: value + self.is_corrupting for row, value in rows.items()})
        if header["head"]:
            self.head = {"write_seq": header["head"]["write_seq"], "chain_head": digest(self.rows)}
        return {
            "tables": {"rows": {"rows": len(self.rows), "digest": digest(self.rows)}},
            "head": self.head,
            "findings": {"balances": 0},
        }

    def look(self, move: str) -> Side:
        if self.active == move:
            return read_side({"state": "active", "ownership_epoch": self.epoch, "write_seq": None})
        return read_side({"state": "arriving" if self.arriving == move else "none"})


class Crash(BaseException):
    """The mover is gone: nothing catches it."""


@dataclass
class Network:
    """Between the mover and a cell. `fate` says what becomes of each request: `fine`, `lost before` or `lost after` its
    effect, `dies before` or `dies after` (the mover), or `late N`: given up, and done before the N-th request after
    it."""

    fate: Callable[[str], str]
    after_each: Callable[[], None]
    orders: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    fence: int = 0
    late: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def deliver_late(self, until: int | None = None) -> None:
        """What is due at the request of this number; None: everything."""
        due = [deed for at, deed in self.late if until is None or at <= until]
        self.late = [(at, deed) for at, deed in self.late if until is not None and at > until]
        for deed in due:
            deed()


@dataclass
class ModelSide:
    """One cell as one mover reaches it."""

    name: str
    cell: Source | Target
    move_id: str
    lease: int
    network: Network
    sent: Callable[[], int]

    async def ask(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        return self._send(verb, body)  # type: ignore[no-any-return]

    async def read(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> Page:
        return self._send(verb, body)  # type: ignore[no-any-return]

    async def load(self, frame: bytes, *, timeout_s: float) -> Mapping[str, Any]:
        return self._send("load", frame)  # type: ignore[no-any-return]

    async def look(self, user_id: UUID, *, timeout_s: float) -> Side:
        return self._send("look", None)  # type: ignore[no-any-return]

    def _send(self, verb: str, body: Any) -> Any:
        order, fate = (self.lease, self.sent()), self.network.fate(f"{self.name} {verb}")
        self.network.log.append(f"{self.name} {verb}: {fate}")
        self.network.deliver_late(len(self.network.log))
        if fate == "lost before":
            raise Away(f"{self.name} {verb} was lost")
        if fate.startswith("late"):
            due = len(self.network.log) + int(fate.split()[1])
            self.network.late.append((due, lambda: self._too_late(order, verb, body)))
            raise Away(f"{self.name} {verb} took too long")
        if fate == "dies before":
            raise Crash
        try:
            answer = self._do(order, verb, body)
        finally:
            self.network.after_each()
        if fate == "lost after":
            raise Away(f"the answer of {self.name} {verb} was lost")
        if fate == "dies after":
            raise Crash
        return answer

    def _do(self, order: tuple[int, int], verb: str, body: Any) -> Any:
        if self.lease < self.network.fence:
            raise LeaseLost("a former leader")
        self.network.fence = self.lease
        if verb == "look":
            return self.cell.look(self.move_id)
        known = self.network.orders.get((self.name, self.move_id), (0, 0))
        if order <= known:
            raise conflict("a later request of this move was met")
        self.network.orders[self.name, self.move_id] = order
        return self.cell.do(self.move_id, verb, body)

    def _too_late(self, order: tuple[int, int], verb: str, body: Any) -> None:
        self.network.log.append(f"{self.name} {verb}: arrives now")
        try:
            self._do(order, verb, body)
        except (SideRefused, LeaseLost):
            pass
        finally:
            self.network.after_each()
