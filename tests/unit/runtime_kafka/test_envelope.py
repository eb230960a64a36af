"""The outer fields of an event: an identity that never changes, a wire that older readers still understand."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.envelope import (
    EVENT_ID_NAMESPACE,
    Envelope,
    MalformedEnvelope,
    decode_envelope,
    decode_identity,
    encode_envelope,
    event_id,
    partition_key,
)

USER = "00000000-0000-4000-8000-000000000001"


def envelope(**changes: object) -> Envelope:
    fields: dict[str, object] = {
        "event_id": event_id(USER, "orders", 7),
        "type": "order.filled",
        "version": 1,
        "cell": "cell-1",
        "user_id": USER,
        "epoch": 3,
        "stream": "orders",
        "seq": 7,
        "write_seq": 12,
        "occurred_at": datetime(2026, 11, 20, 15, 4, 5, 6, tzinfo=UTC),
        "data": {"symbol": "AAPL"},
    }
    return Envelope(**(fields | changes))  # type: ignore[arg-type]


@given(user=st.uuids(), stream=st.sampled_from(["orders", "ledger"]), seq=st.integers(1, 2**63 - 1))
def test_the_event_id_is_a_version_5_uuid(user: uuid.UUID, stream: str, seq: int) -> None:
    """Anybody can compute it in any language."""
    assert event_id(str(user), stream, seq) == str(uuid.uuid5(EVENT_ID_NAMESPACE, f"{user}/{stream}/{seq}"))


def test_the_event_id_of_a_known_event_never_changes() -> None:
    assert event_id(USER, "orders", 1) == "279cc949-b41c-5853-98cd-71f85c003fb2"


def test_the_wire_is_what_the_design_says() -> None:
    assert json.loads(encode_envelope(envelope())) == {
        "event_id": event_id(USER, "orders", 7),
        "type": "order.filled",
        "version": 1,
        "cell": "cell-1",
        "user_id": USER,
        "epoch": 3,
        "stream": "orders",
        "seq": 7,
        "write_seq": 12,
        "occurred_at": "2026-11-20T15:04:05.000006Z",
        "data": {"symbol": "AAPL"},
    }


def test_what_is_written_is_read() -> None:
    assert decode_envelope(encode_envelope(envelope())) == envelope()
    identity = decode_identity(encode_envelope(envelope()))
    assert (identity.event_id, identity.user_id, identity.stream, identity.seq) == (
        event_id(USER, "orders", 7),
        USER,
        "orders",
        7,
    )


def test_a_reader_passes_over_fields_it_does_not_know() -> None:
    newer = json.loads(encode_envelope(envelope())) | {"trace": "0af7"}
    assert decode_envelope(json.dumps(newer).encode()) == envelope()


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"event_id": 5}', b"\xff\xfe"])
def test_what_is_no_envelope_is_said_so(body: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        decode_envelope(body)
    with pytest.raises(MalformedEnvelope):
        decode_identity(body)


def test_the_key_is_the_user() -> None:
    assert partition_key(USER) == USER.encode()
