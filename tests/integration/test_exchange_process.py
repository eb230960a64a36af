"""The exchange as a process: its port, `kill -9`, resume, tapes and faults through the operator port."""

import signal
import socket
import time
from pathlib import Path

import msgspec
import pytest

from exchange.wire import Ack, Cancel, FrameReader, FromCell, Hello, Report, Status, Submit, encode_message, frame
from tests.support.exchange_process import DEADLINE_S, ExchangeProcess
from tests.support.moved_metrics import assert_moved

TAPE = b"34200,1,11,100,1000000,1\n34200.1,4,11,30,1000000,1\n34200.3,3,11,70,1000000,1\n"


class Cell:
    """The smallest cell: it commits reports to a list."""

    def __init__(self, exchange: ExchangeProcess, session: str = "cell-1") -> None:
        self.exchange, self.session = exchange, session
        self.reports: list[Report] = []
        self.unknown: list[str] = []
        self.prices: dict[str, int] = {}
        self.closed = False
        self.connect()

    def connect(self) -> None:
        self.link = socket.create_connection(("127.0.0.1", self.exchange.port), timeout=DEADLINE_S)
        self.exchange.links.append(self.link)
        self.frames = FrameReader()
        self.closed = False
        self.send(Hello(self.session, len(self.reports)))

    def send(self, *messages: FromCell) -> None:
        self.link.sendall(b"".join(frame(encode_message(message)) for message in messages))

    def read(self) -> None:
        self.link.settimeout(0.05)
        try:
            data = self.link.recv(1 << 16)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        self.closed = not data
        for body in self.frames.feed(data):
            message = msgspec.json.decode(body)
            if message["t"] == "report":
                assert message["seq"] == len(self.reports) + 1
                self.reports.append(msgspec.convert(message, Report))
            elif message["t"] in ("prices", "welcome"):
                self.prices |= message["prices"]
            elif message["t"] == "unknown":
                self.unknown.append(message["cl_ord_id"])

    def read_until(self, count: int) -> list[Report]:
        ends_at = time.monotonic() + DEADLINE_S
        while len(self.reports) < count and time.monotonic() < ends_at and not self.closed:
            self.read()
        return self.reports

    def read_until_closed(self) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while not self.closed and time.monotonic() < ends_at:
            self.read()
        assert self.closed


def market_order(number: int, symbol: str = "AAPL") -> Submit:
    return Submit(f"order-{number}", "u", symbol, "buy", 10_000_000, ord_type="market")


def test_a_kill_at_any_moment_forgets_no_order_and_repeats_no_exec_id(exchange: ExchangeProcess) -> None:
    cell = Cell(exchange)
    cell.send(*(market_order(number) for number in range(200)))
    cell.read_until(250)
    exchange.stop(signal.SIGKILL)
    cell.read_until_closed()
    exchange.start()
    cell.connect()
    cell.send(*(Status(f"order-{number}", "u") for number in range(200)))
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        cell.read()
        if len(cell.unknown) + sum(report.kind == "status" for report in cell.reports) == 200:
            break
    cell.send(*(market_order(int(cl_ord_id.removeprefix("order-"))) for cl_ord_id in cell.unknown))
    while time.monotonic() < ends_at and sum(r.last_qty or 0 for r in cell.reports) < 200 * 10_000_000:
        cell.read()
    fills = [report for report in cell.reports if report.kind == "fill"]
    assert sum(report.last_qty or 0 for report in fills) == 200 * 10_000_000
    assert len({report.exec_id for report in fills}) == len(fills)
    assert sum(report.kind == "accepted" for report in cell.reports) == 200


@pytest.mark.parametrize("point", ["exchange.before_commit", "exchange.after_commit"])
def test_nothing_is_told_before_it_is_durable(exchange: ExchangeProcess, tmp_path: Path, point: str) -> None:
    resting = Submit("rest", "u", "AAPL", "buy", 1_000_000, 1_000_000)
    marker = tmp_path / "once"
    marker.touch()  # the point is inert while this exists
    exchange.stop()
    exchange.start(f"{point}=kill@{marker}")
    cell = Cell(exchange)
    time.sleep(0.3)  # the session's own row is durable by then: no batch of it may be the one that meets the point
    marker.unlink()
    cell.send(resting)
    cell.read_until_closed()
    assert cell.reports == []
    exchange.process.wait(DEADLINE_S)
    exchange.start()
    cell.connect()
    cell.send(resting)
    was_durable = point == "exchange.after_commit"
    kinds = [report.kind for report in cell.read_until(2 if was_durable else 1)]
    assert kinds == (["accepted", "status"] if was_durable else ["accepted"])


def test_reports_are_resent_until_acknowledged_and_then_trimmed(exchange: ExchangeProcess) -> None:
    cell = Cell(exchange)
    cell.send(*(Submit(f"rest-{n}", "u", "AAPL", "buy", 1_000_000, 1_000_000) for n in range(5)))
    cell.read_until(5)
    again = Cell(exchange)  # the same session, with nothing received: everything comes again, the old link closes
    assert [report.cl_ord_id for report in again.read_until(5)] == [f"rest-{n}" for n in range(5)]
    cell.read_until_closed()
    again.send(Ack(5), Cancel("rest-0", "u"))
    assert again.read_until(6)[-1].kind == "cancelled"
    _, summary = exchange.operate("GET", "/operator/v1/summary")
    sessions = msgspec.convert(summary["sessions"], dict[str, dict[str, object]])
    assert sessions["cell-1"] == {"connected": True, "last_seq": 6, "acked_seq": 5}
    assert_moved(
        exchange.metrics(),
        "exchange_messages_total",
        "exchange_reports_total",
        "exchange_commit_seconds",
        "exchange_commit_rows",
        "exchange_live_orders",
        "exchange_connected_sessions",
    )


def test_a_slow_cell_costs_no_memory_and_misses_nothing(exchange: ExchangeProcess) -> None:
    cell = Cell(exchange)
    for start in range(0, 30_000, 1_000):
        cell.send(*(Submit(f"rest-{n}", "u" * 100, "AAPL", "buy", 10**6, 10**6) for n in range(start, start + 1_000)))
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        summary = exchange.operate("GET", "/operator/v1/summary")[1]
        if summary["live_orders"] == 30_000:
            break
        time.sleep(0.2)  # between two looks
    assert summary["live_orders"] == 30_000
    assert len(cell.read_until(30_000)) == 30_000


def test_bad_bytes_close_the_connection_and_nothing_else(exchange: ExchangeProcess) -> None:
    good = Cell(exchange)
    for bad in (b"\xff\xff\xff\xff", frame(b"nonsense"), frame(b'{"t":"ack","seq":1}')):
        with socket.create_connection(("127.0.0.1", exchange.port), timeout=DEADLINE_S) as link:
            link.sendall(bad)
            assert b"failure" in link.recv(4096)
            assert link.recv(4096) == b""
    good.send(market_order(1))
    assert good.read_until(1)[0].kind == "accepted"
    assert_moved(exchange.metrics(), "exchange_bad_frames_total")


def test_a_tape_is_loaded_once_durably_and_played(exchange: ExchangeProcess) -> None:
    path = "/operator/v1/tapes?symbol=TAPED&run=R"
    assert exchange.operate("POST", path, TAPE, role="viewer")[0] == 403
    assert exchange.operate("POST", path, TAPE)[0] == 201
    exchange.stop(signal.SIGKILL)
    exchange.start()
    assert exchange.operate("POST", path, TAPE)[0] == 200
    status, problem = exchange.operate("POST", path, TAPE.replace(b"70", b"71"))
    assert (status, problem["code"]) == (409, "TAPE_CONFLICT")
    status, problem = exchange.operate("POST", "/operator/v1/tapes?symbol=TAPED&run=S", TAPE + TAPE)
    assert (status, problem["code"], problem["line"]) == (422, "TAPE_INVALID", 4)
    cell = Cell(exchange)
    cell.send(Submit("t", "u", "TAPED", "buy", 100_000_000, 100_000_000, client_order_id="R-11"), Cancel("t", "u"))
    assert [report.kind for report in cell.read_until(3)] == ["accepted", "fill", "cancelled"]
    assert abs(cell.prices["TAPED"] - 100_000_000) < 1_000_000
    _, tapes = exchange.operate("GET", "/operator/v1/tapes")
    items = msgspec.convert(tapes["items"], list[dict[str, object]])
    assert [(tape["symbol"], tape["orders"], tape["orders_taken"]) for tape in items] == [("TAPED", 1, 1)]


def test_faults_are_set_by_operators_and_survive_a_restart(exchange: ExchangeProcess) -> None:
    assert exchange.operate("POST", "/operator/v1/faults", b'{"late_fill_rate": 2}')[0] == 422
    assert exchange.operate("POST", "/operator/v1/faults", b'{"no_such": 2}')[0] == 422
    cell = Cell(exchange)
    cell.read()
    status, faults = exchange.operate("POST", "/operator/v1/faults", b'{"late_fill_rate": 1, "unknown_fill": true}')
    assert (status, faults["unknown_fill_sent_to"]) == (200, ["cell-1"])
    exchange.stop(signal.SIGKILL)
    cell.read_until_closed()
    exchange.start()
    cell.connect()
    cell.send(Submit("late", "u", "AAPL", "buy", 10_000_000, 1_000_000), Cancel("late", "u"))
    assert [report.kind for report in cell.read_until(4)] == ["fill", "accepted", "cancelled", "fill"]


def test_sigterm_writes_what_was_taken_and_ends_well(exchange: ExchangeProcess) -> None:
    cell = Cell(exchange)
    cell.send(*(Submit(f"rest-{n}", "u", "AAPL", "buy", 1_000_000, 1_000_000) for n in range(50)))
    cell.read_until(1)
    assert exchange.stop(signal.SIGTERM) == 0
    exchange.start()
    cell.connect()
    assert len(cell.read_until(50)) == 50
