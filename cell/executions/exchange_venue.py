"""The session with `exchange/`: one framed TCP connection, made again whenever it breaks, resumed where the inbox ends.

On every connection the cell says what it has committed; the exchange sends the rest, so nothing is lost and what comes
twice is passed over by its number. Silence is a fault: the exchange sends prices twice a second, and after a few
seconds without a byte the connection is dropped. Reports wait in the socket while the inbox is behind.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from random import random
from typing import Final
from uuid import UUID

import msgspec

from cell.executions.report import ExecutionReport, read_report
from cell.executions.round_trip import RoundTrips
from cell.executions.venue import VenueAway, VenueListener, VenueOrder, VenueSilent
from cell.executions.wire import (
    Ack,
    Cancel,
    Failure,
    FrameTooLong,
    FromVenue,
    Hello,
    Prices,
    Replace,
    Report,
    Status,
    Submit,
    ToVenue,
    Unknown,
    Welcome,
    cut_frames,
    decode_body,
    encode_frame,
)

READ_BYTES: Final = 1 << 18
"""Of one read: about a thousand reports."""
CONNECT_TIMEOUT_S: Final = 3.0
"""Of one attempt: a venue that is there answers in milliseconds; the next attempt follows after a pause."""
SILENCE_MAX_S: Final = 5.0
"""Ten messages that the exchange owes us by then: the connection is dead, whatever TCP thinks of it."""
ANSWER_TIMEOUT_S: Final = 5.0
"""For one question. No longer than silence may last, so a dead connection is noticed as such first or at once."""
BACKOFF_S: Final = (0.05, 2.0)
"""Between connections, doubling, and spread by half each way so that cells do not come back in step."""

_log = logging.getLogger(__name__)


class ExchangeVenue:
    """The venue `exchange`, under the session name of this cell."""

    def __init__(self, address: str, session: str, round_trips: RoundTrips | None = None) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._session = session
        self._generation = 0
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._round_trips = round_trips

    @property
    def name(self) -> str:
        """Stands in executions and the inbox."""
        return "exchange"

    @property
    def session(self) -> str:
        """The cell's name."""
        return self._session

    @property
    def generation(self) -> int:
        """Counts connections."""
        return self._generation

    @property
    def connected(self) -> bool:
        """Whether the session is up."""
        return self._connected.is_set()

    async def run(self, listener: VenueListener) -> None:
        """Connect, resume, read; again and again until cancelled."""
        backoff_s = BACKOFF_S[0]
        while True:
            generation = self._generation
            try:
                await self._live(listener)
            except (OSError, TimeoutError, EOFError, FrameTooLong, msgspec.MsgspecError) as error:
                _log.warning("venue away", extra={"venue": self.name, "detail": repr(error)})
            finally:
                self._part()
            # It was connected: what ended that is new, so the pause begins small again.
            if self._generation > generation:
                backoff_s = BACKOFF_S[0]
            # Half to one and a half: cells that lost the venue together do not return together.
            await asyncio.sleep(backoff_s * (0.5 + random()))
            backoff_s = min(BACKOFF_S[1], backoff_s * 2)

    async def wait_connected(self) -> int:
        """Wait for a connection; returns its generation."""
        await self._connected.wait()
        return self._generation

    async def submit(self, order: VenueOrder) -> None:
        """Send an order."""
        if self._round_trips is not None:
            self._round_trips.sent(str(order.order_id))
        await self._send(
            Submit(
                cl_ord_id=str(order.order_id),
                account=str(order.user_id),
                symbol=order.symbol,
                side=order.side,
                order_qty=order.order_qty_micros or 0,
                cash_qty=order.cash_micros,
                limit_px=order.limit_px_micros,
                time_in_force=order.time_in_force,
                # the venue never sees a stop: what reaches it was triggered
                ord_type="market" if order.type in ("market", "stop") else "limit",
                client_order_id=order.client_order_id,
            )
        )

    async def cancel(self, order_id: UUID, user_id: UUID) -> None:
        """Ask for the end of an order."""
        await self._send(Cancel(str(order_id), str(user_id)))

    async def replace(self, order: VenueOrder) -> None:
        """Ask for a replacement."""
        assert order.order_qty_micros is not None, "orders by amount are not replaced"
        await self._send(
            Replace(
                cl_ord_id=str(order.order_id),
                orig_cl_ord_id=str(order.replaces),
                account=str(order.user_id),
                order_qty=order.order_qty_micros,
                limit_px=order.limit_px_micros,
                time_in_force=order.time_in_force,
            )
        )

    async def ask(self, order_id: UUID, user_id: UUID) -> bool:
        """Does the exchange know this order? Any report of it answers yes. Raises VenueSilent."""
        key = str(order_id)
        # Asked twice at once, one answer serves both.
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            await self._send(Status(key, str(user_id)))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await asyncio.shield(answer)
        except TimeoutError as error:
            raise VenueSilent(f"no answer about {key} within {ANSWER_TIMEOUT_S} s") from error
        finally:
            self._asked.pop(key, None)

    async def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is committed here."""
        await self._send(Ack(seq))

    async def reset(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.close()

    async def _live(self, listener: VenueListener) -> None:
        received = await listener.received_seq()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port)
        self._writer = writer
        writer.write(encode_frame(Hello(self._session, received)))
        held = bytearray()
        while True:
            async with asyncio.timeout(SILENCE_MAX_S):
                data = await reader.read(READ_BYTES)
            if not data:
                raise EOFError("the exchange closed the connection")
            held += data
            await self._hear(cut_frames(held), listener)

    async def _hear(self, bodies: Iterable[bytes], listener: VenueListener) -> None:
        reports: list[ExecutionReport] = []
        for body in bodies:
            message = decode_body(body)
            if isinstance(message, Report):
                reports.append(read_report(message, body))
                self._answer(message.cl_ord_id, True)
                if self._round_trips is not None:
                    self._round_trips.heard(message.cl_ord_id)
            else:
                self._hear_other(message, listener)
        if reports:
            await listener.on_reports(reports)

    def _hear_other(self, message: FromVenue, listener: VenueListener) -> None:
        if isinstance(message, Unknown):
            self._answer(message.cl_ord_id, False)
        elif isinstance(message, Prices):
            listener.on_prices(message.prices, message.bands, message.number)
        elif isinstance(message, Welcome):
            self._generation += 1
            self._connected.set()
            listener.on_prices(message.prices, message.bands, message.number)
            _log.info("session open", extra={"venue": self.name, "session_id": message.session_id})
        elif isinstance(message, Failure):
            raise EOFError(message.detail)

    def _answer(self, cl_ord_id: str, known: bool) -> None:
        answer = self._asked.get(cl_ord_id)
        if answer is not None and not answer.done():
            answer.set_result(known)

    def _part(self) -> None:
        self._connected.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(VenueAway("the connection broke"))
        self._asked.clear()
        if self._round_trips is not None:
            self._round_trips.parted()

    async def _send(self, message: ToVenue) -> None:
        writer = self._writer
        if writer is None or not self._connected.is_set():
            raise VenueAway("not connected")
        try:
            writer.write(encode_frame(message))
            await writer.drain()
        except (OSError, RuntimeError) as error:  # uvloop's word for a transport that is closed already: RuntimeError
            with suppress(OSError):
                writer.close()
            raise VenueAway(str(error)) from error
