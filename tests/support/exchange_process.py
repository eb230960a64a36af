"""The exchange as a real process on data of its own, to be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec

from infra.security.keys import generate_key_files
from tests.support.free_port import free_port
from tests.support.operator_tokens import bearer

DEADLINE_S = 30.0


class ExchangeProcess:
    """One `python -m exchange serve`, restartable on the same data."""

    def __init__(self, directory: Path) -> None:
        self.port, self.operator_port = free_port(), free_port()
        self.keys_dir, self.data_dir = directory / "keys", directory / "data"
        generate_key_files(self.keys_dir)
        self.links: list[socket.socket] = []
        self.start()

    def start(self, fault_points: str = "") -> None:
        environ = {
            "EXCHANGE_LISTEN__PORT": str(self.port),
            "EXCHANGE_OPERATOR__PORT": str(self.operator_port),
            "EXCHANGE_DATA_DIR": str(self.data_dir),
            "EXCHANGE_KEYS_DIR": str(self.keys_dir),
            "EXCHANGE_SEED": "7",
            "FAULT_POINTS": fault_points,
        }
        self.process = subprocess.Popen([sys.executable, "-m", "exchange", "serve"], env=os.environ | environ)
        ends_at = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends_at:
            if self.process.poll() is not None:
                raise AssertionError("the exchange did not start")
            try:
                assert self.operate("GET", "/health/ready")[0] == 200
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the exchange is not ready in time")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}/metrics", timeout=DEADLINE_S) as answer:
            return str(answer.read(), "utf-8")

    def operate(
        self, method: str, path: str, body: bytes = b"", role: str | None = "operator", media_type: str | None = None
    ) -> tuple[int, dict[str, object]]:
        known = bearer(self.keys_dir, "exchange", method, path, role) if role else {}
        token = "".join(f"{name}: {value}\r\n" for name, value in known.items())
        kind = media_type or ("text/csv" if path.startswith("/operator/v1/tapes") else "application/json")
        with socket.create_connection(("127.0.0.1", self.operator_port), timeout=DEADLINE_S) as link:
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"{token}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            link.sendall(head.encode() + body)
            answer = b""
            while data := link.recv(65536):
                answer += data
        first, _, content = answer.partition(b"\r\n\r\n")
        decoded = msgspec.json.decode(content) if content.startswith(b"{") else {}
        return int(first.split()[1]), decoded
