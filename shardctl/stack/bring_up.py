"""Bring a stack up: servers, keys, schemas, topics, map, processes, in that order; then renew, one by one, those
that run with other settings.

Every step checks for itself whether it is needed. So `up` may be repeated, may follow a crash at any moment, and adds
what is new. It never removes a cell and never deletes data.
"""

import asyncio
from dataclasses import replace

from infra.backends.addresses import CONTROL_SERVICE
from infra.backends.backend import READY_TIMEOUT_S, Backend, BackendError, Phase, Report, Step, process_names
from infra.backends.cell_spec import OUR_KINDS, SERVER_KINDS, CellSpec, ProcessKind, ProcessSpec
from infra.backends.plan import own_keys
from infra.security.cell_keys import generate_cell_keys
from infra.security.keys import generate_key_files
from shardctl.audit.recording import recorded_act
from shardctl.cells.provision import migrate_cells, migrate_control, register_cells
from shardctl.shardmap.redirect import make_redirect
from shardctl.stack.current import remember_backend
from shardctl.stack.plan import StackOptions, cells_at_once, plan_spec
from shardctl.stack.renew import RENEW_TIMEOUT_S, outdated_processes, renew_processes

SERVERS_TIMEOUT_S = 90.0
"""Databases, Redis and Kafka of a large stack start at once, on two cores; and a first start runs initdb for each
database."""
CONTROL_TIMEOUT_S = 15.0
"""It was started before the cells' processes, which are ready now."""


async def bring_up(
    backend: Backend, options: StackOptions, report: Report, *, wait: bool, reason: str | None = None
) -> tuple[CellSpec, ...]:
    """Return when everything is started (and ready, if `wait`): the cells that a stack which was there before is still
    to be given, each by an operation. Raises BackendError that names what is not ready, Refused and SpecInvalid from
    planning. Raises NotReachable."""
    async with backend.lock():
        before = backend.spec() if backend.exists() else None
        wanted = plan_spec(before, options, backend.external_servers())
        count = cells_at_once(before, wanted)
        spec = replace(wanted, cells=wanted.cells[:count])
        remember_backend()
        if before is not None and before.clock_offset_s != spec.clock_offset_s:
            # All at once, and before the new clock is recorded: processes that trade with each other must not be years
            # apart for a second, not even if this command is killed here.
            await backend.stop_processes(
                await process_names(backend, lambda process: process.kind is ProcessKind.CONTROL or _is_ours(process))
            )
        await backend.create(spec)
        outdated = await outdated_processes(backend, OUR_KINDS)
        if CONTROL_SERVICE in outdated:
            # A former release must not go on with operations: its tokens and calls are not those of renewed cells, and
            # a refusal would fail them. The new one takes them up, and waits for cells that are not renewed yet.
            await backend.stop_processes((CONTROL_SERVICE,))
        generate_key_files(backend.keys_folder)
        for cell in spec.cells:
            generate_cell_keys(own_keys(backend.keys_folder, cell.name))
        await backend.publish_keys()
        failures = await _start_servers(backend, report)
        # Recorded as soon as there is a database for it; what came before changed servers and schemas only.
        async with recorded_act(backend, "stack.up", backend.stack, reason=reason, arguments=options.given()):
            names = await process_names(backend, lambda process: _is_ours(process) and process.cell not in failures)
            await backend.start((CONTROL_SERVICE, *names))
            await backend.finish_renewal(RENEW_TIMEOUT_S, make_redirect(backend))
            await register_cells(backend, tuple(cell for cell in spec.cells if cell.name not in failures), report)
            if wait:
                await backend.await_ready(names, READY_TIMEOUT_S)
            await renew_processes(backend, tuple(name for name in outdated if name in names))
            if wait:
                await _await_control(backend, report)
            if failures:
                raise BackendError("\n".join(failures.values()))
        return wanted.cells[count:]


async def _start_servers(backend: Backend, report: Report) -> dict[str, str]:
    """Start the servers, then put into them what our processes need: schemas and topics.

    Kafka starts beside the databases, because only the relays wait for it. Returns failures by cell: a cell without its
    schema is left out, and the others start.
    """
    servers = await process_names(backend, lambda process: process.kind in SERVER_KINDS)
    await renew_processes(backend, await outdated_processes(backend, SERVER_KINDS))
    await backend.start(servers)
    databases = await process_names(backend, lambda process: process.kind is ProcessKind.POSTGRES)
    others = tuple(name for name in servers if name not in databases)

    async def control_ready() -> None:
        await migrate_control(backend, report)
        await backend.start((CONTROL_SERVICE,))

    async def databases_ready() -> dict[str, str]:
        await backend.await_ready(databases, SERVERS_TIMEOUT_S)
        _, failures = await asyncio.gather(control_ready(), migrate_cells(backend, backend.spec().cells, report))
        return failures

    async def others_ready() -> None:
        await backend.await_ready(others, SERVERS_TIMEOUT_S)
        created = await backend.ensure_topics()
        report(Step("topics", Phase.READY, f"{len(created)} created" if created else ""))

    failures, _ = await asyncio.gather(databases_ready(), others_ready())
    return failures


async def _await_control(backend: Backend, report: Report) -> None:
    """Customers trade without it, so it keeps nothing down: what is missing is said."""
    try:
        await backend.await_ready((CONTROL_SERVICE,), CONTROL_TIMEOUT_S)
    except BackendError as error:
        report(Step(CONTROL_SERVICE, Phase.READY, f"does not answer; customers are served, no operation runs: {error}"))


def _is_ours(process: ProcessSpec) -> bool:
    """Those without which customers are not served as they should."""
    return process.kind not in SERVER_KINDS and process.kind is not ProcessKind.CONTROL
