"""Every SQLSTATE that a control procedure raises has a refusal of its own, and none is left over."""

import re
from importlib.resources import files

from shardctl.shardmap.errors import BY_SQLSTATE


def test_sqlstates_and_refusals_agree() -> None:
    procedures = files("shardctl").joinpath("sql").joinpath("procedures")
    text = "\n".join(item.read_text() for item in procedures.iterdir() if item.name.endswith(".sql"))
    raised = set(re.findall(r"errcode = '(RBC\d\d)'", text))
    assert raised - {"RBC05"} == set(BY_SQLSTATE)
    assert len(set(BY_SQLSTATE.values())) == len(BY_SQLSTATE)


def test_every_control_routine_is_closed_to_the_public() -> None:
    procedures = files("shardctl").joinpath("sql").joinpath("procedures")
    for item in procedures.iterdir():
        text = item.read_text()
        name = item.name.removesuffix(".sql")
        assert f"revoke all on function {name} from public;" in text, name
        if name != "clock_v1":  # touches no table, and is written to be inlined
            assert "security definer set search_path from current" in text
