"""Where WebSocket frames begin and end (RFC 6455, 5.2), and the one frame that the router writes itself: a close.

A tunnel passes bytes unread; only the heads of frames are looked at, so that a close can be put between two of them
instead of cutting a connection, or a message. Pure; whatever the bytes are, nothing is kept but a head of 14 bytes.
"""

from typing import Final

SERVICE_RESTART: Final = 1012
"""Close codes of the IANA registry: come back later,"""
POLICY_VIOLATION: Final = 1008
"""and: what was allowed at the upgrade is not any more."""
_CLOSE: Final = 0x8
"""Opcode of a close frame (RFC 6455 5.2); bits of the two head bytes follow."""
_FIN: Final = 0x80
"""First byte: this frame ends its message."""
_MASKED: Final = 0x80
"""Second byte: a mask of four bytes follows the length, as in every frame of a client."""


class Frames:
    """One direction of a conversation, fed in pieces of any size."""

    __slots__ = ("_head", "_left", "closed")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.closed = False
        """A close frame has begun: this side says nothing more."""

    @property
    def between(self) -> bool:
        """No frame is under way."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at += self.finish(data, at)

    def finish(self, data: bytes, at: int = 0) -> int:
        """How many bytes from `at` on belong to the frame that is under way, or begins there; they are counted."""
        began = at
        if not self._left:
            at = self._read_head(data, at)
        payload = min(self._left, len(data) - at)
        self._left -= payload
        return at + payload - began

    def _read_head(self, data: bytes, at: int) -> int:
        """Read on in a frame's head, which may come in pieces: two bytes say how long it is, then the rest. At its
        end `_left` is the length of the payload that follows. Returns where the head, or `data`, ends."""
        needed = 2
        while True:
            taken = data[at : at + max(0, needed - len(self._head))]
            self._head += taken
            at += len(taken)
            if len(self._head) < needed:
                return at
            size = self._head[1] & 0x7F
            extended = {126: 2, 127: 8}.get(size, 0)
            whole = 2 + extended + (4 if self._head[1] & _MASKED else 0)
            if len(self._head) == whole:
                break
            needed = whole
        self._left = int.from_bytes(self._head[2 : 2 + extended], "big") if extended else size
        self.closed = self.closed or self._head[0] & 0x0F == _CLOSE
        self._head = b""
        return at


class Direction:
    """What one side says, as the other gets it: everything, until the router ends it with a close frame of its own."""

    __slots__ = ("_code", "_ended", "_frames", "_masked")

    def __init__(self, *, masked: bool) -> None:
        self._frames = Frames()
        self._masked = masked
        self._code = 0
        self._ended = False

    @property
    def closed(self) -> bool:
        return self._frames.closed

    def passed(self, data: bytes) -> bytes:
        """What goes on of `data`."""
        frames = self._frames
        if not self._code:
            frames.feed(data)
            return data
        if self._ended:
            frames.feed(data)
            return b""
        end = frames.finish(data)
        rest = data[:end] + self._close_now()
        frames.feed(data[end:])
        return rest

    def end(self, code: int) -> bytes:
        """The close frame, if it can be said now; else it follows the frame that is under way."""
        self._code = code
        return self._close_now()

    def _close_now(self) -> bytes:
        if not self._frames.between:
            return b""
        self._ended = True
        if self._frames.closed:
            return b""
        return close_frame(self._code, masked=self._masked)


def close_frame(code: int, *, masked: bool) -> bytes:
    """A client's frames are masked; the mask may be zero, it protects only against scripts in a browser."""
    payload = code.to_bytes(2, "big")
    head = bytes((_FIN | _CLOSE, (_MASKED if masked else 0) | len(payload)))
    return head + bytes(4) + payload if masked else head + payload
