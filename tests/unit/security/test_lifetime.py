"""No token is believed for longer than its kind may live, whatever it says of itself."""

import pytest

from infra.security.lifetime import CLOCK_SKEW_S, LifeEnded, LifeInvalid, check_life

NOW = 1_800_000_000
NORM = 300


@pytest.mark.parametrize(
    ("expires_at_s", "issued_at_s", "not_before_s"),
    [
        (NOW + 1, None, None),
        (NOW + NORM, None, None),
        (NOW + NORM + CLOCK_SKEW_S, None, None),  # signed by a clock that is ahead
        (NOW + NORM, NOW, NOW),
        (NOW + NORM + CLOCK_SKEW_S, NOW + CLOCK_SKEW_S, NOW + CLOCK_SKEW_S),
        (NOW + 1, NOW + 1 - NORM, None),
    ],
)
def test_what_lives_within_the_norm_is_believed(
    expires_at_s: int, issued_at_s: int | None, not_before_s: int | None
) -> None:
    check_life(
        now_s=NOW, life_max_s=NORM, expires_at_s=expires_at_s, issued_at_s=issued_at_s, not_before_s=not_before_s
    )


@pytest.mark.parametrize(
    ("expires_at_s", "issued_at_s", "not_before_s"),
    [
        (NOW + NORM + CLOCK_SKEW_S + 1, None, None),
        (NOW + 10 * 365 * 86_400, None, None),
        (NOW + NORM + 1, NOW, None),
        (NOW + 60, NOW + 60 - NORM - 1, None),  # near its end, and still one that was never to be
        (NOW + 60, NOW + CLOCK_SKEW_S + 1, None),
        (NOW + 60, NOW, NOW + CLOCK_SKEW_S + 1),
        (NOW + 60.5, NOW, None),
        (True, None, None),
        ("never", None, None),
        (None, None, None),
        (NOW + 60, "now", None),
        (NOW + 60, NOW, [NOW]),
        (float("inf"), None, None),
        (10**400, None, None),
    ],
)
def test_what_does_not_is_refused(expires_at_s: object, issued_at_s: object, not_before_s: object) -> None:
    with pytest.raises(LifeInvalid):
        check_life(
            now_s=NOW, life_max_s=NORM, expires_at_s=expires_at_s, issued_at_s=issued_at_s, not_before_s=not_before_s
        )


def test_what_has_ended_is_told_apart() -> None:
    for expires_at_s in (NOW, NOW - 10**9, -1, 0):
        with pytest.raises(LifeEnded):
            check_life(now_s=NOW, life_max_s=NORM, expires_at_s=expires_at_s)
