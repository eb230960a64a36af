"""`routers.restart`: renew the routers one by one, or one of them; the next follows when the one before is ready.

A step persists since when its router runs before it asks for a reload. So an attempt that comes after a crash sees
whether the reload was done, and does not do it twice.
"""

from typing import Final

from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from shardctl.errors import NotReachable, Refused
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.shardmap.redirect import make_redirect
from shardctl.stack.renew import RENEW_TIMEOUT_S


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"router": str})
    return {"router": arguments.get("router")}


async def observe(resources: StackResources, _: Document) -> Document:
    routers = [process.name for process in await resources.backend.plan() if process.kind is ProcessKind.ROUTER]
    return {"routers": routers}


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    known, wanted = facts["routers"], arguments["router"]
    if wanted is not None and wanted not in known:
        raise Refused(f"there is no router {wanted}; there are: {', '.join(known)}")
    names = known if wanted is None else [wanted]
    steps = tuple(
        PlannedStep(f"renew {name}", "renew", {"router": name}, attempts_max=3, timeout_s=4 * RENEW_TIMEOUT_S)
        for name in names
    )
    return Plan(wanted or "all", steps)


async def _since(step: Step[StackResources]) -> Document:
    facts = await step.resources.backend.readiness_facts(await _router(step))
    if not facts:
        raise NotReachable(f"{step.arguments['router']} does not answer, so it cannot be renewed: `shardctl status`")
    return {"started_at": facts.get("started_at")}


async def _renew(step: Step[StackResources]) -> Document:
    router = await _router(step)
    async with step.resources.changing() as backend:
        if await _runs_since(backend, router) != step.intent["started_at"]:
            # An attempt before this one asked for it: it is done, or on its way.
            await backend.await_ready((router.name,), RENEW_TIMEOUT_S)
        if await _runs_since(backend, router) == step.intent["started_at"]:
            await backend.renew(router.name, RENEW_TIMEOUT_S, make_redirect(backend, step.resources.map_store))
        return {"started_at": await _runs_since(backend, router)}


async def _runs_since(backend: Backend, router: ProcessSpec) -> object:
    """None while it does not answer."""
    return (await backend.readiness_facts(router)).get("started_at")


async def _router(step: Step[StackResources]) -> ProcessSpec:
    planned = await step.resources.backend.plan()
    return next(process for process in planned if process.name == step.arguments["router"])


ROUTERS_RESTART: Final[Kind[StackResources]] = Kind(
    name="routers.restart",
    version=1,
    summary="Renews the routers one after the other; each finishes its requests and keeps its listening socket.",
    parse=parse,
    observe=observe,
    plan=plan,
    actions={"renew": Action(_renew, decide=_since)},
)
