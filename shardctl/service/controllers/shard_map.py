"""`/v1/map` and `/v1/cells`: the map as it stands, published again; a cell takes new users, or none."""

from dataclasses import asdict
from typing import Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from infra.runtime.strict_body import read_body
from infra.topology.cells import CellState
from shardctl.audit.attempts import of_act
from shardctl.cells.cordon import set_cell_state
from shardctl.cells.user_acts import retry_report
from shardctl.service.acting import REASONED, Acting
from shardctl.service.auditing import DESCRIBE
from shardctl.service.identity import person_of
from shardctl.shardmap.republish import republish_map


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing that anybody trades by changes, so a reason may be left out."""

    reason: str | None = None


_publication = msgspec.json.Decoder(Publication)


class MapController(Controller):
    path = "/v1/map"

    @get("/")
    async def shown(
        self, request: Request[Any, Any, Any], acting: NamedDependency[Acting], history: FromQuery[int] = 0
    ) -> dict[str, Any]:
        """Epoch, cells with their buckets and pins, and so many of the newest changes."""
        async with acting.looking(person_of(request)).map_store() as store:
            shard_map = await store.load()
            records = await store.history(history) if history > 0 else []
        return {**shard_map.describe(), "history": [asdict(record) for record in records]}

    @post("/publish", status_code=200, opt={DESCRIBE: of_act("map.publish", "redis")})
    async def publish(self, request: Request[Any, Any, Any], acting: NamedDependency[Acting]) -> dict[str, Any]:
        body = await read_body(_publication, request)
        return {"epoch": await republish_map(acting.by(person_of(request), body.reason))}


class CellsController(Controller):
    path = "/v1/cells/{cell:str}"

    @post("/cordon", status_code=200, opt={DESCRIBE: of_act("cells.cordon", "{cell}")})
    async def cordon(
        self, request: Request[Any, Any, Any], cell: FromPath[str], acting: NamedDependency[Acting]
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return asdict(await set_cell_state(acting.by(person_of(request), body.reason), cell, CellState.CORDONED))

    @post("/uncordon", status_code=200, opt={DESCRIBE: of_act("cells.uncordon", "{cell}")})
    async def uncordon(
        self, request: Request[Any, Any, Any], cell: FromPath[str], acting: NamedDependency[Acting]
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return asdict(await set_cell_state(acting.by(person_of(request), body.reason), cell, CellState.OPEN))

    @post("/reports/{report:int}/retry", status_code=200, opt={DESCRIBE: of_act("cells.retry_report", "{cell}")})
    async def retry(
        self,
        request: Request[Any, Any, Any],
        cell: FromPath[str],
        report: FromPath[int],
        acting: NamedDependency[Acting],
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return await retry_report(acting.in_a_cell(person_of(request), body.reason), cell, report)
