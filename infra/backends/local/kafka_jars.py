"""The broker's jars: fetched once per user by exact version, checked by sha256 at every use, refused by name if one
differs.

`jars/kafka.toml` says what is wanted, `jars/kafka.lock.toml` what that came to. `python -m
infra.backends.local.kafka_jars` resolves the first and rewrites the second; nothing else ever resolves a version.
`KAFKA_HOME` names an unpacked distribution instead, which is then trusted as it is.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.local.folders import cache_root

_FOLDER = Path(__file__).parent / "jars"
SPECIFICATION = _FOLDER / "kafka.toml"
LOCK_FILE = _FOLDER / "kafka.lock.toml"
_DOWNLOADS_AT_ONCE = 8
"""Some hundred small files: waiting is what takes the time."""
_DOWNLOAD_TIMEOUT_S = 60
"""Of one file."""
_DOWNLOAD_ATTEMPTS = 3
"""Of one file: mirrors answer with an error now and then."""


@dataclass(frozen=True, slots=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def read_lock(text: str) -> tuple[Jar, ...]:
    entries = tomllib.loads(text)["dependencies"]
    return tuple(Jar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"]) for entry in entries)


async def locate_jars(report: Report) -> str:
    """A Java class path with the broker in it. Raises BackendError that names a jar which is not what the lock says."""
    home = os.environ.get("KAFKA_HOME")
    if home:
        libraries = Path(home) / "libs"
        if not any(libraries.glob("kafka_*.jar")):
            raise BackendError(f"KAFKA_HOME={home} has no libs/kafka_*.jar: point it to an unpacked Kafka distribution")
        return f"{libraries}/*"
    lock_text = LOCK_FILE.read_text("utf-8")
    folder = jars_folder(lock_text)
    jars = read_lock(lock_text)
    if not folder.exists():
        report(Step("kafka jars", Phase.PREPARE, f"fetching {len(jars)} jars once"))
        await asyncio.to_thread(_fetch, jars, folder)
    await asyncio.to_thread(verify, jars, folder)
    return f"{folder}/*"


def jars_folder(lock_text: str) -> Path:
    return cache_root() / f"kafka-{hashlib.sha256(lock_text.encode()).hexdigest()[:12]}"


def verify(jars: tuple[Jar, ...], folder: Path) -> None:
    """Every jar is the one that the lock names. Raises BackendError."""
    expected = {jar.file_name for jar in jars}
    unknown = sorted(path.name for path in folder.glob("*.jar") if path.name not in expected)
    if unknown:
        raise BackendError(f"{folder} holds {unknown[0]}, which the lock does not know: remove that folder")
    for jar in jars:
        path = folder / jar.file_name
        if not path.exists():
            raise BackendError(f"{path} is missing: remove {folder}, it will be fetched again")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != jar.sha256:
            raise BackendError(f"{jar.file_name} is not what the lock says (sha256 {digest}): refused; remove {folder}")


def _fetch(jars: tuple[Jar, ...], folder: Path) -> None:
    """Into a folder beside, verified, then renamed: the final folder is complete or absent."""
    building = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    building.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(lambda jar: _fetch_one(jar, building), jars))
        shutil.rmtree(building / "repository", ignore_errors=True)
        verify(jars, building)
        if not folder.exists():
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fetch_one(jar: Jar, building: Path) -> None:
    # Imported here: only the first start on a machine needs a Maven client, and importing it is slow.
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=building / "repository", timeout=_DOWNLOAD_TIMEOUT_S)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, _DOWNLOAD_ATTEMPTS + 1):
        try:
            shutil.copyfile(artifact.resolve(), building / jar.file_name)
        except Exception as error:  # whatever the Maven client raises, the advice is the same
            if attempt == _DOWNLOAD_ATTEMPTS:
                raise BackendError(
                    f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} ({error}): check the network, or set "
                    "KAFKA_HOME to an unpacked Kafka distribution, or KAFKA_BOOTSTRAP_SERVERS to a running broker"
                ) from error
        else:
            return


def _resolve_again() -> None:
    from jgo.env import LockFile
    from jgo.maven import Dependency, MavenContext

    context = MavenContext(timeout=_DOWNLOAD_TIMEOUT_S)
    wanted = tomllib.loads(SPECIFICATION.read_text("utf-8"))["dependencies"]["coordinates"]
    coordinates = [str(item).split(":") for item in wanted]
    inputs = [
        Dependency(context.project(group, name).at_version(version).artifact()) for group, name, version in coordinates
    ]
    resolved_inputs, transitive = context.resolver.resolve(inputs)
    needed = [item for item in (*resolved_inputs, *transitive) if item.scope in ("compile", "runtime", None)]
    LockFile.from_resolved_dependencies(needed, environment_name="kafka", min_java_version=17).save(LOCK_FILE)
    lines = LOCK_FILE.read_text("utf-8").splitlines(keepends=True)
    LOCK_FILE.write_text("".join(line for line in lines if not line.startswith("generated")), "utf-8")


if __name__ == "__main__":
    _resolve_again()
