"""A running stack for acceptance and fault tests: one per session, or the one that `STACK` names.

A stack made here has a name, a state folder and ports of its own and is removed with its data afterwards. A given one
(`STACK`, and `SHARDCTL_STATE_DIR` if it has its own) is used as it is and left running.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from infra.backends.catalog import open_backend
from infra.backends.checkout import project_root
from infra.backends.local.folders import StackFolder
from shardctl.settings import read_settings
from shardctl.stack.inspect import env_lines
from tests.support.memory import memory_folder
from tests.support.newer_schema import bring_to_newer_schema, is_wanted

COMMAND_LIMIT_S = 180.0


@dataclass(frozen=True)
class Command:
    """How one run of shardctl ended."""

    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Stack:
    """Speaks to a stack as an operator does: by running `shardctl`."""

    name: str
    state_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> StackFolder:
        """Of a stack on this machine with a state folder of its own."""
        assert self.state_dir is not None
        return StackFolder(self.state_dir / self.name)

    def shell_environment(self) -> dict[str, str]:
        """In which any command of the project means this stack."""
        environment = {**os.environ, **self.environment, "SHARDCTL_STACK": self.name}
        if self.state_dir is not None:
            environment["SHARDCTL_STATE_DIR"] = str(self.state_dir)
        return environment

    def run(self, *arguments: str, timeout_s: float = COMMAND_LIMIT_S) -> Command:
        done = subprocess.run(
            [sys.executable, "-m", "shardctl", *arguments],
            env=self.shell_environment(),
            cwd=project_root(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: str, timeout_s: float = COMMAND_LIMIT_S) -> Command:
        """As `run`; a failure fails the test with what the command said."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.exit_code == 0, f"shardctl {' '.join(arguments)}: {done.exit_code}\n{done.stdout}\n{done.stderr}"
        return done

    def status(self) -> Any:
        return self.must("status", "--json").json()

    def process(self, name: str) -> Any:
        """The row of one process; None if there is no such process."""
        return next((row for row in self.status()["processes"] if row["name"] == name), None)

    def env(self) -> dict[str, str]:
        """What `shardctl status -o env` prints, by the function that it calls: tests ask for it all the time."""
        root = self.state_dir or read_settings().state_root
        return dict(line.split("=", 1) for line in env_lines(open_backend("", self.name, root)))

    def owner_dsns(self) -> Iterator[tuple[str, str]]:
        """Package and DSN of each database's owner, whose password lies where the auditor's does."""
        assert self.state_dir is not None
        [passfile] = self.state_dir.rglob("secrets/pgpass")
        for name, dsn in self.env().items():
            if name.endswith("_DSN"):
                parts = conninfo_to_dict(dsn)
                role = str(parts["user"]).replace("_auditor", "_owner")
                address = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
                yield (
                    "shardctl" if name == "CONTROL_DSN" else "cell",
                    f"postgresql://{role}@{address}?passfile={passfile}",
                )


@contextmanager
def fresh_stack(
    name: str, *up_arguments: str, within: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """A stack of its own, removed with its data at the end. `within`: another folder than that for temporary files;
    `environment`: of its commands, and so of its processes."""
    state_dir = Path(tempfile.mkdtemp(prefix="cell-brokerage-stack-", dir=within))
    state_dir.chmod(0o711)
    stack = Stack(name, state_dir, environment or {})
    try:
        stack.must("up", "--wait", *up_arguments)
        for package, owner_dsn in stack.owner_dsns() if is_wanted() else ():
            bring_to_newer_schema(package, owner_dsn)
        yield stack
    finally:
        stack.run("down", "--delete-data", "--yes")
        shutil.rmtree(state_dir, ignore_errors=True)


@contextmanager
def session_stack() -> Iterator[Stack]:
    given = os.environ.get("STACK")
    if given:
        own_folder = os.environ.get("SHARDCTL_STATE_DIR")
        yield Stack(given, Path(own_folder) if own_folder else None)
        return
    with fresh_stack("acceptance", within=memory_folder()) as stack:
        yield stack
