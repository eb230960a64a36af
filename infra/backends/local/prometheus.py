"""The Prometheus of a stack, if this machine has one (`PROMETHEUS_BIN` names another). It watches; nobody waits for it.

It finds the stack's processes in a file that is written at every change of the stack (file discovery), with the labels
that rules and dashboards ask for, and takes its rules from the release that runs (`python -m monitoring render`). What
it keeps is bounded, on disk and in memory. Without the program a stack runs as well, and `shardctl doctor` says so.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.backends.backend import BackendError
from infra.backends.cell_spec import Job, ProcessKind, ProcessSpec
from infra.backends.local.folders import StackFolder
from infra.backends.replaced_file import replace_file

INSTALL: Final = "apt-get install prometheus (or export PROMETHEUS_BIN=/path/to/prometheus)"
RETENTION: Final = ("7d", "512MB")
"""As long as the weekday a week ago matters, and never more disk than this."""
MEMORY_MAX: Final = "256MiB"
"""Where its garbage collector begins to work hard: a stack of fifty cells has some hundred thousand series."""
SCRAPE_S: Final = 15
"""Prometheus's usual pace; the alerts' windows are four of these and more."""
PACE_VARIABLE: Final = "MONITORING_PACE_S"
"""A whole number of seconds: scrapes are as frequent, and no alert holds longer before it fires. For drills."""

_CONFIG: Final = "prometheus.yml"
_TARGETS: Final = "targets.json"


def locate_prometheus() -> Path | None:
    """The program, or None: also where `PROMETHEUS_BIN` names none."""
    found = shutil.which(os.environ.get("PROMETHEUS_BIN") or "prometheus")
    return Path(found) if found else None


def pace_s() -> int | None:
    """Raises BackendError for a pace that is none."""
    text = os.environ.get(PACE_VARIABLE, "")
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 3_600):
        raise BackendError(f"{PACE_VARIABLE}={text}: a whole number of seconds, 1 to 3600")
    return int(text) if text else None


def plan_prometheus(name: str, program: Path, port: int, folder: StackFolder) -> ProcessSpec:
    age, size = RETENTION
    options = {
        "config.file": str(folder.monitoring / _CONFIG),
        "storage.tsdb.path": str(folder.data(name)),
        "storage.tsdb.retention.time": age,
        "storage.tsdb.retention.size": size,
        "web.listen-address": f"127.0.0.1:{port}",
        "query.timeout": "30s",
        "query.max-concurrency": "4",
        "query.max-samples": "5000000",  # of one query, in memory: some 100 MB
        "log.level": "warn",
    }
    command = (str(program), *(f"--{option}={value}" for option, value in options.items()))
    return ProcessSpec(name, ProcessKind.PROMETHEUS, command, port=port, environment={"GOMEMLIMIT": MEMORY_MAX})


def render_config(stack: str, pace: int | None) -> str:
    every = f"{pace or SCRAPE_S}s"
    job = {
        "job_name": "stack",
        "honor_labels": True,  # a router's `cell` is the cell that it asks
        "file_sd_configs": [{"files": [_TARGETS], "refresh_interval": "5s"}],
    }
    document = {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every if pace and pace < 10 else "10s",
            "evaluation_interval": every,
            "external_labels": {"stack": stack},
        },
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [job],
    }
    return json.dumps(document, indent=2) + "\n"


def render_targets(processes: Sequence[ProcessSpec]) -> str:
    """Every process of ours at its operator port; the job is the kind of process."""
    targets = [
        {"targets": [f"127.0.0.1:{process.operator_port}"], "labels": _labels(process)}
        for process in processes
        if process.operator_port is not None
    ]
    return json.dumps(targets, indent=2) + "\n"


def _labels(process: ProcessSpec) -> Mapping[str, str]:
    labels = {"job": process.kind.value, "process": process.name}
    return labels if process.cell is None else {**labels, "cell": process.cell}


def rules_job(folder: StackFolder) -> Job:
    """What writes rules and dashboards beside the configuration, as the release that runs has them. Raises
    BackendError."""
    pace = pace_s()
    return Job("monitoring", ("render", str(folder.monitoring), *(() if pace is None else ("--hold-s-max", str(pace)))))


def write_config(folder: StackFolder, stack: str, processes: Sequence[ProcessSpec]) -> None:
    """Raises BackendError."""
    replace_file(folder.monitoring / _CONFIG, render_config(stack, pace_s()).encode(), mode=0o644)
    replace_file(folder.monitoring / _TARGETS, render_targets(processes).encode(), mode=0o644)
