"""Bring running processes to what is planned for them: one after the other, while customers are served.

The first that does not become ready ends it; it is named, and the others were not touched.
"""

from collections.abc import Collection, Sequence
from typing import Final

from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessKind
from shardctl.shardmap.redirect import make_redirect

RENEW_TIMEOUT_S: Final = 90.0
"""For each wait. A router's drain (`ROUTER_DRAIN_S`, 10 s by default) and a start take seconds; an app server's start
took 40 s on a machine with ten processes for each core (`tests/drills/test_renewal_under_load.py`). Who keeps dying is
found sooner."""


async def outdated_processes(backend: Backend, kinds: Collection[ProcessKind]) -> tuple[str, ...]:
    """Those of these kinds that run otherwise than planned, in the order in which to renew them."""
    known = {process.name for process in await backend.plan() if process.kind in kinds}
    return tuple(name for name in await backend.outdated() if name in known)


async def renew_processes(backend: Backend, names: Sequence[str]) -> None:
    """One after the other. Raises BackendError that names the first that did not become ready."""
    redirect = make_redirect(backend)
    for name in names:
        await backend.renew(name, RENEW_TIMEOUT_S, redirect)
