"""A command in the second in which the service restarts: what is asked again, for how long, and what never is.

The service is a real socket that answers, is closed in the middle, or does not exist.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardctl.control_client import ControlClient
from shardctl.control_patience import RESTART_S, PatientControl
from shardctl.errors import NotReachable, NotSent
from shardctl.release import own_release

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"is": 1}'


def read_request(connection: socket.socket) -> bytes:
    """To its last byte: a connection that is closed before loses what was answered."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65_536)
    head, _, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65_536)
    return head + body


@contextmanager
def listening(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """One connection for each answer, in turn; an empty one hangs up after the request was read."""
    asked: list[bytes] = []
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    asked.append(read_request(connection))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(10)


class Time:
    """Passes while somebody pauses; `at` may happen in a pause."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses = 0
        self.at: dict[int, Callable[[], object]] = {}

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        self.pauses += 1
        self.at.pop(self.pauses, lambda: None)()


class Asked:
    def __init__(self, path: Path, *, runs: bool = True) -> None:
        self.time = Time()
        self.notes: list[str] = []
        self.skews: list[str] = []
        self.control = PatientControl(
            ControlClient(path, 5.0),
            runs=lambda: runs,
            waiting=self.notes.append,
            skewed=self.skews.append,
            monotonic=lambda: self.time.now_s,
            pause=self.time.pause,
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_who_answers_is_asked_once(path: Path) -> None:
    asked = Asked(path)
    with listening(path, ANSWER) as requests:
        assert asked.control.get("/x") == {"is": 1}
    assert (len(requests), asked.notes, asked.time.pauses) == (1, [], 0)


def test_a_service_of_another_release_is_told_of_once(path: Path) -> None:
    asked = Asked(path)
    same = own_release().header().encode()
    told = b'HTTP/1.1 200 OK\r\nControl-Release: %s\r\nContent-Length: 9\r\n\r\n{"is": 1}'
    with listening(path, told % same, told % b"9.9.9; wire=1; build=aaaaaaaaaaaa", ANSWER) as requests:
        asked.control.get("/x")
        assert asked.skews == []
        asked.control.get("/x")
        asked.control.get("/x")
    assert len(asked.skews) == 1
    assert "is older than the control service (9.9.9, build" in asked.skews[0]
    assert b"Control-Release: " + same in requests[0]


def test_a_service_that_comes_back_is_asked_again(path: Path) -> None:
    asked = Asked(path)
    with listening(path.with_name("later"), ANSWER):
        asked.time.at[3] = lambda: path.with_name("later").rename(path)
        assert asked.control.post("/x", {}) == {"is": 1}
    assert asked.time.pauses == 3
    assert len(asked.notes) == 1


def test_one_that_stays_away_is_given_up(path: Path) -> None:
    asked = Asked(path)
    with pytest.raises(NotSent, match="`shardctl up`"):
        asked.control.get("/x")
    assert RESTART_S <= asked.time.now_s < RESTART_S + 1


def test_a_stopped_stack_is_not_waited_for(path: Path) -> None:
    asked = Asked(path, runs=False)
    with pytest.raises(NotSent):
        asked.control.get("/x")
    assert (asked.time.pauses, asked.notes) == (0, [])


def test_a_lost_answer_is_asked_for_again_only_where_twice_is_as_once(path: Path) -> None:
    with listening(path, b"", ANSWER) as requests:
        assert Asked(path).control.get("/x") == {"is": 1}
    assert requests[0] == requests[1]
    with listening(path, b"", ANSWER) as requests:
        assert Asked(path).control.post("/x", {"key": "k"}, is_repeatable=True) == {"is": 1}
    assert requests[0] == requests[1]
    asked = Asked(path)
    with listening(path, b"") as requests, pytest.raises(NotReachable) as lost:
        asked.control.post("/x", {})
    assert not isinstance(lost.value, NotSent)
    assert len(requests) == 1
