"""How much memory a process and its children really use, and for how long it has run.

PostgreSQL's processes share most of their pages; summing resident sizes would count the shared buffers once per
connection. Where the kernel tells proportional sizes (Linux) those are summed, elsewhere resident ones.
"""

import time

import psutil


def tree_memory_bytes(pid: int) -> int | None:
    """None if the process is gone."""
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    return sum(_memory_bytes(member) for member in members)


def own_memory_bytes(pid: int) -> int | None:
    """Without children: a supervisor's children have rows of their own."""
    try:
        return _memory_bytes(psutil.Process(pid))
    except psutil.Error:
        return None


def uptime_s(pid: int) -> float | None:
    try:
        return max(0.0, time.time() - psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _memory_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.AccessDenied:
        return _resident_bytes(process)
    except psutil.Error:
        return 0


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
