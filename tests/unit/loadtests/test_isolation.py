"""The isolation benchmark: what its sick cells do, and how its ratios are made."""

import asyncio

import pytest

from loadtests.benchmarks.isolation import summary
from loadtests.measurement.sick_cell import HEALTHS, AnsweringCell

pytestmark = pytest.mark.anyio


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    def round_of(well: float, sick: float) -> dict[str, dict[str, float]]:
        return {health: dict.fromkeys(("p50_ms", "p99_ms"), well if health == "well" else sick) for health in HEALTHS}

    found = summary([round_of(1, 2), round_of(10, 11), round_of(100, 400)])
    assert (found["well"]["p99_ms"], found["hang"]["p99_ms"], found["hang"]["p99_ratio"]) == (10, 11, 2)


@pytest.mark.parametrize(
    ("health", "said"), [("well", b"HTTP/1.1 200 "), ("reset", b""), ("garbage", b"\x16\x03\x01"), ("hang", b"")]
)
async def test_a_cell_is_as_sick_as_it_is_called(health: str, said: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: AnsweringCell(health), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET /v1/account HTTP/1.1\r\n\r\n")
        try:
            got = await asyncio.wait_for(reader.read(13), 0.3)
            assert health != "hang"
        except TimeoutError:
            assert health == "hang"
            got = b""
        except ConnectionResetError:
            assert health == "reset"
            got = b""
        assert got.startswith(said)
        writer.close()
