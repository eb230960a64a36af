"""An operation whose one step does not end by itself: for tests of who may ask for it, approve it and cancel it."""

import asyncio

from infra.security.roles import Role
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step
from shardctl.operations.resources import StackResources


def waits(name: str, role: Role) -> Kind[StackResources]:
    async def act(_: Step[StackResources]) -> Document:
        await asyncio.Event().wait()
        return {}

    async def observe(_: StackResources, __: Document) -> Document:
        return {}

    def plan(_: Document, __: Document) -> Plan:
        return Plan("it", (PlannedStep("wait", "act"),))

    return Kind(name, 1, "Waits.", lambda given: given, observe, plan, {"act": Action(act)}, role=role)
