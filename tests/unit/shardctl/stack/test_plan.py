"""What `up` makes of its flags."""

from dataclasses import replace

import pytest

from infra.backends.cell_spec import CellSpec, Profile, SpecInvalid, StackSpec
from shardctl.errors import Refused
from shardctl.stack.inspect import stack_state
from shardctl.stack.plan import StackOptions, plan_spec

EXISTING = StackSpec(cells=(CellSpec("cell-1"), CellSpec("west")), routers=2, risk_profile="professional")


def test_a_new_stack_has_two_cells_with_one_api_each() -> None:
    spec = plan_spec(None, StackOptions(), {})
    assert spec == StackSpec(cells=(CellSpec("cell-1"), CellSpec("cell-2")))


def test_a_new_stack_uses_servers_that_somebody_else_runs() -> None:
    spec = plan_spec(None, StackOptions(), {"REDIS_URL": "redis://r/0", "KAFKA_TOPIC_PREFIX": "mine."})
    assert (spec.redis_url, spec.kafka_bootstrap_servers, spec.topic_prefix) == ("redis://r/0", None, "mine.")


def test_saying_nothing_changes_nothing() -> None:
    assert plan_spec(EXISTING, StackOptions(), {"REDIS_URL": "redis://r/0"}) == EXISTING


def test_more_cells_take_the_first_free_names() -> None:
    spec = plan_spec(EXISTING, StackOptions(cells=4), {})
    assert [cell.name for cell in spec.cells] == ["cell-1", "west", "cell-2", "cell-3"]
    assert replace(spec, cells=EXISTING.cells) == EXISTING


def test_up_never_removes_a_cell() -> None:
    with pytest.raises(Refused, match="never removes"):
        plan_spec(EXISTING, StackOptions(cells=1), {})


def test_apis_are_for_every_cell() -> None:
    assert [cell.apis for cell in plan_spec(EXISTING, StackOptions(cells=3, apis=2), {}).cells] == [2, 2, 2]


@pytest.mark.parametrize(
    "options",
    [
        StackOptions(cells=0),
        StackOptions(cells=-1),
        StackOptions(apis=0),
        StackOptions(routers=99),
        StackOptions(market_hours="9-5"),
        StackOptions(admission_rate=-1.0),
        StackOptions(admission_rate=float("nan")),
        StackOptions(admission_rate=float("inf")),
    ],
)
def test_an_impossible_wish_is_refused(options: StackOptions) -> None:
    with pytest.raises(SpecInvalid):
        plan_spec(None, options, {})


@pytest.mark.parametrize("profile", ["production", "rehearsal"])
def test_production_has_the_safe_defaults_and_a_rehearsal_the_same(profile: str) -> None:
    spec = plan_spec(None, StackOptions(profile=profile), {})
    assert (spec.market_hours, spec.share_transfers, spec.risk_profile) == ("XNYS", "approve", "retail")
    said = plan_spec(None, StackOptions(profile=profile, share_transfers="accept", market_hours="always"), {})
    assert (said.market_hours, said.share_transfers) == ("always", "accept")


def test_the_clock_is_shifted_forward_only_and_never_in_production() -> None:
    shifted = plan_spec(EXISTING, StackOptions(clock_offset_s=3_600.0), {})
    assert shifted == replace(EXISTING, clock_offset_s=3_600.0)
    assert plan_spec(shifted, StackOptions(), {}) == shifted
    assert plan_spec(shifted, StackOptions(clock_offset_s=7_200.0), {}).clock_offset_s == 7_200.0
    with pytest.raises(Refused, match="never put back"):
        plan_spec(shifted, StackOptions(clock_offset_s=0.0), {})
    assert plan_spec(None, StackOptions(profile="rehearsal", clock_offset_s=-60.0), {}).clock_offset_s == -60.0
    for offset_s in (60.0, 1e12, float("nan")):
        with pytest.raises(SpecInvalid):
            plan_spec(None, StackOptions(profile="production", clock_offset_s=offset_s), {})
    with pytest.raises(SpecInvalid):
        plan_spec(plan_spec(None, StackOptions(profile="production"), {}), StackOptions(clock_offset_s=60.0), {})


def test_a_cap_on_admission_is_kept_until_another_is_said() -> None:
    capped = plan_spec(EXISTING, StackOptions(admission_rate=40.0), {})
    assert capped == replace(EXISTING, admission_rate=40.0)
    assert plan_spec(capped, StackOptions(routers=2), {}).admission_rate == 40.0
    assert plan_spec(capped, StackOptions(admission_rate=0.0), {}) == EXISTING
    assert plan_spec(None, StackOptions(admission_rate=40.0), {}).admission_rate == 40.0


def test_a_stack_keeps_its_profile() -> None:
    assert plan_spec(EXISTING, StackOptions(profile="local"), {}).profile is Profile.LOCAL
    with pytest.raises(Refused, match="chosen when"):
        plan_spec(EXISTING, StackOptions(profile="production"), {})
    with pytest.raises(SpecInvalid):
        plan_spec(None, StackOptions(profile="test"), {})


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("running", "running"), "running"),
        (("running", "backoff"), "degraded"),
        (("running", "stopped"), "degraded"),
        (("stopped", "stopped"), "stopped"),
    ],
)
def test_state_of_a_stack(states: tuple[str, ...], expected: str) -> None:
    assert stack_state(states) == expected
