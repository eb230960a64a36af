"""What is kept of a process's metrics: cumulative counters and histograms of requests, with name, release and start."""

from infra.backends.cell_spec import ProcessKind, ProcessSpec
from monitoring.tables import TABLES
from shardctl.service.sampling import KEPT, UNNAMED, make_sample

RENDERED = """\
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
# TYPE build_info gauge
build_info{release="0123456789ab"} 1.0
# TYPE cell_commands_total counter
cell_commands_total{kind="place",outcome="accepted"} 7.0
# TYPE cell_batch_seconds histogram
cell_batch_seconds_bucket{kind="place",le="0.05"} 5.0
cell_batch_seconds_bucket{kind="place",le="+Inf"} 6.0
cell_batch_seconds_count{kind="place"} 6.0
cell_batch_seconds_sum{kind="place"} 0.5
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 1.0
"""


def test_a_sample() -> None:
    process = ProcessSpec("cell-1-api-1", ProcessKind.API, (), cell="cell-1", operator_port=1)
    assert make_sample(process, RENDERED) == {
        "process": "cell-1-api-1",
        "cell": "cell-1",
        "release": "0123456789ab",
        "started_at_s": 1.7e9,
        "counters": {
            'cell_commands_total{kind="place",outcome="accepted"}': 7.0,
            'cell_batch_seconds_bucket{kind="place",le="0.05"}': 5.0,
            'cell_batch_seconds_bucket{kind="place",le="+Inf"}': 6.0,
            'cell_batch_seconds_count{kind="place"}': 6.0,
            'cell_batch_seconds_sum{kind="place"}': 0.5,
        },
    }


def test_a_process_that_names_no_release() -> None:
    process = ProcessSpec("router-1", ProcessKind.ROUTER, (), operator_port=1)
    assert make_sample(process, "# TYPE process_start_time_seconds gauge\n")["release"] == UNNAMED


def test_what_is_kept_is_exported_by_somebody() -> None:
    exported = {row.name.removesuffix("_total") for table in TABLES.values() for row in table}
    assert set(KEPT) <= exported
