"""Taking over who waits in the kernel's queue ends, whatever the kernel says."""

import asyncio
import errno
import socket
from typing import cast

import pytest

from router.listener import _take_over_waiting

pytestmark = pytest.mark.anyio


class Refusing:
    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.asked == 100:
            raise BlockingIOError
        raise OSError(self.number, "")


@pytest.mark.parametrize(
    ("number", "asked"), [(errno.EMFILE, 1), (errno.ENFILE, 1), (errno.ENOBUFS, 1), (errno.ECONNABORTED, 100)]
)
async def test_without_room_for_a_socket_nobody_is_asked_for_on_and_on(number: int, asked: int) -> None:
    listener = Refusing(number)
    await _take_over_waiting(cast(socket.socket, listener), asyncio.Protocol)
    assert listener.asked == asked
