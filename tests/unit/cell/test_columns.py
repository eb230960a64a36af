"""Columns and fields have one order: what is moved on one side only is refused, and never taken for something else."""

import re
from dataclasses import replace

import pytest

from cell.commands.command import OUTCOMES, CommandKind, Outcome, procedures
from cell.rows import field_names


def test_a_procedures_arrays_are_those_of_its_arguments() -> None:
    place = procedures(accept_transfers=True, reference_age_max_s=60.0)[CommandKind.PLACE]
    swapped = place.sql.replace("p_limit_pxs", "p_?").replace("p_stop_pxs", "p_limit_pxs").replace("p_?", "p_stop_pxs")
    for other in (swapped, place.sql.replace("p_notionals => %b::bigint[], ", "")):
        with pytest.raises(ValueError, match="PlaceArguments"):
            replace(place, sql=other)


def test_an_outcome_has_the_columns_that_every_procedure_answers_with() -> None:
    columns = re.findall(r"\w+", OUTCOMES.removeprefix("select ").partition(" from ")[0])
    assert columns == ["ordinal", *field_names(Outcome)]
