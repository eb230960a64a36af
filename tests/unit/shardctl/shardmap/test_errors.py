"""Every SQLSTATE that a control procedure raises has a refusal of its own, and none is left over."""

import re
from importlib.resources import files

from shardctl.operations.errors import BY_SQLSTATE as OF_OPERATIONS
from shardctl.shardmap.errors import BY_SQLSTATE as OF_THE_MAP


def test_sqlstates_and_refusals_agree() -> None:
    procedures = files("shardctl").joinpath("sql").joinpath("procedures")
    text = "\n".join(item.read_text() for item in procedures.iterdir() if item.name.endswith(".sql"))
    raised = set(re.findall(r"errcode = '(RBC\d\d)'", text))
    assert raised - {"RBC05"} == {*OF_THE_MAP, *OF_OPERATIONS}
    for refusals in (OF_THE_MAP, OF_OPERATIONS):
        assert len(set(refusals.values())) == len(refusals)
    assert {code: OF_THE_MAP[code] for code in OF_THE_MAP.keys() & OF_OPERATIONS.keys()} == {
        "RBC10": OF_OPERATIONS["RBC10"]
    }


def test_every_control_routine_is_closed_to_the_public() -> None:
    procedures = files("shardctl").joinpath("sql").joinpath("procedures")
    for item in procedures.iterdir():
        text = item.read_text()
        name = item.name.removesuffix(".sql")
        assert f"revoke all on function {name} from public;" in text, name
        if name != "clock_v1":  # touches no table, and is written to be inlined
            assert "security definer set search_path from current" in text
