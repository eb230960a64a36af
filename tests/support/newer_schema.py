"""Tests of this checkout on the tables of a newer one: what a server of this release meets in the middle of a rollout.

`TEST_NEWER_CHECKOUT` and `TEST_NEWER_PYTHON` name the newer checkout and its interpreter. A database that was brought
to this release is then brought to the newer one's `pre`, by the newer one's own files; this release's code stays beside
and is what sessions use. Unset, nothing happens.
"""

import os
import subprocess

MIGRATE_S_MAX = 120


def is_wanted() -> bool:
    return bool(os.environ.get("TEST_NEWER_CHECKOUT"))


def bring_to_newer_schema(package: str, owner_dsn: str) -> None:
    """Raises CalledProcessError where the newer release cannot go beside this one."""
    if not is_wanted():
        return
    checkout = os.environ["TEST_NEWER_CHECKOUT"]
    command = [os.environ["TEST_NEWER_PYTHON"], "-m", "tests.migration.go_beside", package, owner_dsn]
    environ = os.environ | {"PYTHONPATH": checkout}
    subprocess.run(command, cwd=checkout, env=environ, timeout=MIGRATE_S_MAX, check=True)
