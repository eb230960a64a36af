"""Page tokens lead back to where a page ended, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.paging import parse_page, seal
from infra.runtime.problem import Problem


@given(st.uuids())
def test_a_token_opens_to_its_key(key: object) -> None:
    assert parse_page(None, seal(key), None).after == str(key)


@pytest.mark.parametrize(
    ("limit", "token", "direction"),
    [
        *((limit, None, None) for limit in ("0", "501", "x", "-1", "\u0661")),
        *((None, token, None) for token in ("ä", "a", "!!!!")),
        (None, None, "up"),
    ],
)
def test_bad_pages_are_refused(limit: str | None, token: str | None, direction: str | None) -> None:
    with pytest.raises(Problem) as caught:
        parse_page(limit, token, direction)
    assert caught.value.status == 422
