"""A proxy between a client as a process and a server, that knows how many connections there were and what was asked."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

READ_BYTES = 65_536


@dataclass
class Traffic:
    """Of all connections so far."""

    port: int = 0
    asked: list[bytearray] = field(default_factory=list)
    """What each client sent, connection by connection."""
    answered: list[bytearray] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.asked)

    def count(self, text: bytes, *, answered: bool = False) -> int:
        """How often clients said it, or the server, in whatever case."""
        said_by = self.answered if answered else self.asked
        return sum(bytes(said).lower().count(text.lower()) for said in said_by)


@contextmanager
def counting_proxy(host: str, port: int) -> Iterator[Traffic]:
    """In threads of its own, so that a test may wait for its client like any other process."""
    traffic, ends = Traffic(), set[socket.socket]()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        traffic.port = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # the block has ended
                server = socket.create_connection((host, port))
                ends.update((client, server))
                asked, answered = bytearray(), bytearray()
                traffic.asked.append(asked)
                traffic.answered.append(answered)
                threading.Thread(target=_pass, args=(client, server, asked), daemon=True).start()
                threading.Thread(target=_pass, args=(server, client, answered), daemon=True).start()

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield traffic
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join(5)
            for end in ends:
                end.close()


def _pass(source: socket.socket, target: socket.socket, said: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            said += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
