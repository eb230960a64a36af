"""How an act ended, by what it raised."""

import asyncio

import pytest

from infra.backends.backend import BackendError
from shardctl.audit.recording import outcome_of
from shardctl.errors import Interrupted, NotReachable, Refused, UsageError
from shardctl.shardmap.errors import StaleEpoch


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Refused("no"), "refused"), (StaleEpoch("moved on"), "refused"), (UsageError("?"), "refused"),
        (NotReachable("away"), "failed"), (BackendError("dead"), "failed"), (OSError("disk"), "failed"),
        (Interrupted("half"), "interrupted"), (KeyboardInterrupt(), "interrupted"),
        (asyncio.CancelledError(), "interrupted"),
    ],
    ids=repr,
)  # fmt: skip
def test_how_an_act_ended(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome
