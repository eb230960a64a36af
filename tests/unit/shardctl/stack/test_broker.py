"""Which broker a stack's events lie on, and what is said of one that is away or of a cell that is not there."""

from pathlib import Path

import pytest

from shardctl.commands.brokers import kafka_settings, not_reachable
from shardctl.errors import Refused
from shardctl.stack.broker import kafka_of
from tests.support.control_service import folder_stack


def test_the_broker_of_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = folder_stack(tmp_path)
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", backend.stack)
    assert kafka_of(backend).bootstrap_servers == backend.addresses().kafka
    assert kafka_settings("cell-1") == kafka_of(backend)
    with pytest.raises(Refused, match="there is no cell cell-2; there are: cell-1"):
        kafka_settings("cell-2")
    assert "shardctl logs kafka" in str(not_reachable(ConnectionError("refused")))
