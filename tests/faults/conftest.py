"""An exchange for the kill matrix."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.exchange_process import ExchangeProcess


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[ExchangeProcess]:
    process = ExchangeProcess(tmp_path)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)
