"""`python -m tests.migration.go_beside PACKAGE OWNER_DSN`: this release's `pre` and its code, beside an older release.

What the older release's tests call (`tests/support/newer_schema.py` there), so the name and the two arguments stay.
"""

import asyncio
import sys

from infra.runtime.migrator import MigrationPhase, migrate


def main() -> None:
    package, owner_dsn = sys.argv[1:]
    applied = asyncio.run(migrate(owner_dsn, package=package, phase=MigrationPhase.PRE))
    print(f"{package}: level {applied.level}, {applied.code}, waiting {list(applied.waiting)}")


if __name__ == "__main__":
    main()
