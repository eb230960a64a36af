"""An id has one spelling, wherever it comes in."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.topology.identifiers import CELL_ID_CHARACTERS_MAX, parse_cell_id, parse_uuid, parse_uuid_hex

ID = "0190c0de-0000-7abc-8000-00000000000f"
WRONG = [
    ID.replace("-", ""), "{" + ID + "}", "urn:uuid:" + ID, "0190c0de0-000-7abc-8000-00000000000f", f" {ID}", f"{ID}\n",
    "0190c0de-0000-7abc-8000-0000000_000f", "+190c0de-0000-7abc-8000-00000000000f", ID.replace("0", "\u0660"), "",
    "0190c0de00007abc800000000000000f----", ID + "-", ID[:-1], "0x90c0de-0000-7abc-8000-00000000000f",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_python_takes_besides_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_uuid(text)


@given(st.uuids())
def test_an_id_is_read_in_either_case(value: UUID) -> None:
    assert parse_uuid(str(value)) == parse_uuid(str(value).upper()) == parse_uuid_hex(value.hex) == value


@pytest.mark.parametrize("text", [ID, "0190C0DE00007ABC800000000000000F", "+190c0de00007abc800000000000000f", ""])
def test_the_digits_of_a_token_are_ours(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_uuid_hex(text)


def test_a_cell_id_has_a_length() -> None:
    """Names of roles, topics and processes are made of it; PostgreSQL takes 63 bytes."""
    assert parse_cell_id("c" * CELL_ID_CHARACTERS_MAX) == "c" * CELL_ID_CHARACTERS_MAX
    with pytest.raises(ValueError, match=f"at most {CELL_ID_CHARACTERS_MAX}"):
        parse_cell_id("c" * (CELL_ID_CHARACTERS_MAX + 1))
