"""Reports of all sessions: their numbers, without a gap, and those that are not durable yet.

A report goes to the session that submitted its order, and the end of a cancel also to the one that asked. Nothing is
sent from here: the caller makes the batch durable first. Never: a gap in a session's numbers, or one number twice.
"""

from collections.abc import Iterable
from hashlib import blake2b
from uuid import UUID

from exchange.faults import SeededRandom
from exchange.live_order import LiveOrder, exec_id_of, rfc3339
from exchange.log_rows import ReportRow
from exchange.replacing import REVISIONS
from exchange.wire import Report, ReportKind, Submit, encode_message


class Reports:
    """What every session was sent so far, by number."""

    def __init__(self, random: SeededRandom) -> None:
        self._random = random
        self._sessions: dict[str, list[int]] = {}  # session -> [last_seq, acked_seq]
        self._dirty: set[str] = set()
        self._rows: list[ReportRow] = []
        self.count = 0

    def restore(self, sessions: Iterable[tuple[str, int, int]]) -> None:
        """Take up what the log remembers."""
        self._sessions = {session: [last_seq, acked_seq] for session, last_seq, acked_seq in sessions}

    def open_session(self, session: str, received: int) -> int:
        """A cell is back and holds everything up to `received`; returns the last number given out so far."""
        numbers = self._sessions.setdefault(session, [0, 0])
        if received > numbers[0]:
            # The cell remembers more than we do: our log was deleted. Never use a number twice.
            numbers[0] = received
        self._dirty.add(session)
        self.acknowledge(session, received)
        return numbers[0]

    def acknowledge(self, session: str, seq: int) -> None:
        """Everything up to `seq` is durable in the cell; numbers from the future are cut."""
        numbers = self._sessions[session]
        seq = min(seq, numbers[0])
        if seq > numbers[1]:
            numbers[1] = seq
            self._dirty.add(session)

    def numbers(self) -> dict[str, tuple[int, int]]:
        """session -> (last number given out, highest acknowledged)."""
        return {session: (last_seq, acked_seq) for session, (last_seq, acked_seq) in self._sessions.items()}

    @property
    def pending_count(self) -> int:
        """Reports that wait to be written."""
        return len(self._rows)

    def take(self) -> tuple[list[ReportRow], list[tuple[str, int, int]]]:
        """New reports and changed sessions since the last call."""
        rows, self._rows = self._rows, []
        sessions = [(session, self._sessions[session][0], self._sessions[session][1]) for session in self._dirty]
        self._dirty = set()
        return rows, sessions

    def add(
        self,
        order: LiveOrder,
        kind: ReportKind,
        reader: str,
        now_us: int,
        *,
        last_qty: int | None = None,
        last_px: int | None = None,
        reason: str | None = None,
        exec_ref_id: str | None = None,
    ) -> None:
        """Put a report on a session, twice if the fault of duplicates occurs."""
        terms = order.terms
        name = f"{terms.cl_ord_id}:{kind}:{order.fill_count}"
        copies = 1 + self._random.occurs("duplicate", name, self._random.faults.duplicate_rate)
        numbers = self._sessions.setdefault(reader, [0, 0])
        at = rfc3339(now_us)
        for _ in range(copies):
            numbers[0] += 1
            report = Report(
                seq=numbers[0],
                kind=kind,
                session=order.session,
                trade_date=at[:10],
                cl_ord_id=terms.cl_ord_id,
                account=terms.account,
                symbol=terms.symbol,
                side=terms.side,
                ord_status=order.ord_status,
                cum_qty=order.cum_qty,
                leaves_qty=order.leaves_qty,
                at=at,
                venue_order_id=order.venue_order_id,
                exec_id=exec_id_of(order) if kind == "fill" or kind in REVISIONS else None,
                last_qty=last_qty,
                last_px=last_px,
                reason=reason,
                exec_ref_id=exec_ref_id,
                orig_cl_ord_id=terms.replaces if kind in ("replaced", "replace_rejected") else None,
            )
            self._rows.append(ReportRow(reader, numbers[0], encode_message(report)))
            self.count += 1
        self._dirty.add(reader)

    def add_unknown_fill(self, symbol: str, now_us: int) -> list[str]:
        """Put a fill for an order that nobody sent on every session; returns the sessions."""
        for session, (last_seq, _) in self.numbers().items():
            digest = blake2b(f"{self._random.seed}:stray:{session}:{last_seq}".encode(), digest_size=32).digest()
            stray = Submit(
                cl_ord_id=str(UUID(bytes=digest[:16], version=4)),
                account=str(UUID(bytes=digest[16:], version=4)),
                symbol=symbol,
                side="buy",
                order_qty=1_000_000,
                limit_px=1_000_000,
            )
            order = LiveOrder(stray, session)
            order.ord_status, order.cum_qty, order.fill_count = "filled", stray.order_qty, 1
            self.add(order, "fill", session, now_us, last_qty=stray.order_qty, last_px=1_000_000)
        return sorted(self._sessions)
