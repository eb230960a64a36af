"""That metrics moved, asserted where something moves them; `tests/unit/test_every_metric_moves.py` counts these calls.

A metric that no code changes is worse than none: its zero is read as good news.
"""

from prometheus_client.parser import text_string_to_metric_families

_UNMOVED = (0.0, -1.0)
"""-1 is a gauge's "not known"."""


def assert_moved(rendered: bytes | str, *names: str) -> None:
    """Each of these, by its declared name, has a sample that is not as at the start. `rendered`: `/metrics`."""
    text = rendered.decode() if isinstance(rendered, bytes) else rendered
    moved = {
        sample.name.removesuffix("_count")
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value not in _UNMOVED
    }
    assert not set(names) - moved, f"did not move: {sorted(set(names) - moved)}"
