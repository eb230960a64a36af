"""The cell and the exchange each declare their session; what one writes the other must be able to read."""

import typing

import msgspec
import pytest
from msgspec.structs import FieldInfo

import cell.executions.wire as cell_wire
import exchange.wire as exchange_wire


def structs(union: object) -> dict[str, type[msgspec.Struct]]:
    return {str(struct.__struct_config__.tag): struct for struct in typing.get_args(union)}


def fields(struct: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


REQUESTS = structs(cell_wire.ToVenue)
ANSWERS = structs(exchange_wire.ToCell)


def test_the_exchange_knows_every_message_a_cell_writes() -> None:
    assert set(REQUESTS) <= set(structs(exchange_wire.FromCell))


def test_a_cell_knows_every_message_the_exchange_writes() -> None:
    assert set(ANSWERS) <= set(structs(cell_wire.FromVenue))


@pytest.mark.parametrize("tag", sorted(REQUESTS))
def test_what_a_cell_writes_has_all_that_the_exchange_needs(tag: str) -> None:
    written, read = fields(REQUESTS[tag]), fields(structs(exchange_wire.FromCell)[tag])
    assert set(written) <= set(read)
    assert {name for name, field in read.items() if field.required} <= set(written)


@pytest.mark.parametrize("tag", sorted(ANSWERS))
def test_what_the_exchange_writes_has_all_that_a_cell_reads(tag: str) -> None:
    written, read = fields(ANSWERS[tag]), fields(structs(cell_wire.FromVenue)[tag])
    assert set(read) <= set(written)
    for name, field in read.items():
        assert written[name].type == field.type or typing.get_origin(written[name].type) is typing.Literal


@pytest.mark.parametrize("limit_px", [None, 5])
@pytest.mark.parametrize("time_in_force", ["day", "gtc", "ioc", "fok"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_every_submit_of_a_cell_is_understood(limit_px: int | None, time_in_force: str, side: str) -> None:
    written = cell_wire.Submit(
        "a", "u", "S", side, 1, limit_px, time_in_force, "limit" if limit_px else "market", "R-1"
    )
    read = exchange_wire.decode_message(cell_wire.encode_frame(written)[4:])
    assert isinstance(read, exchange_wire.Submit)
    assert (read.limit_px, read.side, read.time_in_force, read.client_order_id) == (
        limit_px,
        side,
        time_in_force,
        "R-1",
    )


def test_both_sides_cut_frames_the_same_way() -> None:
    assert (cell_wire.FRAME_BYTES_MAX, cell_wire.LENGTH_BYTES) == (
        exchange_wire.FRAME_BYTES_MAX,
        exchange_wire.LENGTH_BYTES,
    )
    hello = cell_wire.encode_frame(cell_wire.Hello("cell-1", 3))
    assert hello == exchange_wire.frame(exchange_wire.encode_message(exchange_wire.Hello("cell-1", 3)))


def test_a_report_carries_what_the_procedure_reads_of_its_body() -> None:
    """apply_reports_v1 reads these names; a renamed field would silently read as null."""
    names = {"kind", "exec_id", "trade_date", "last_qty", "last_px", "at", "reason", "venue_order_id"}
    names |= {"exec_ref_id", "leaves_qty"}
    assert names <= set(fields(exchange_wire.Report))
