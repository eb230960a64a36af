"""One OpenAPI document for the whole customer API: the cells' own, with the router's calls merged in.

The cell declares what it serves; the router only asks for it and adds its own. The merged document is kept for a
while, and longer than that if no cell answers: documentation does not fail because a cell does.
"""

import asyncio
import logging
from typing import Any, Final

import msgspec

from router.cell_calls import CellCalls
from router.described import describe_answers, describe_own
from router.errors import RouterRefusal
from router.fleet import Fleet

_log = logging.getLogger(__name__)
_KEPT_S: Final = 60.0
"""A cell's document changes with its release only."""
_RETRY_S: Final = 2.0
"""While no cell answers: readers of the documentation shall not ask sick cells with every page."""
_SECURITY: Final = {"customer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


class CustomerDocument:
    """The merged document, as it was last rendered."""

    def __init__(self, fleet: Fleet, calls: CellCalls) -> None:
        self._fleet = fleet
        self._calls = calls
        self._merged: bytes | None = None
        self._until_s = 0.0

    async def render(self, own: dict[str, Any]) -> bytes:
        now_s = asyncio.get_running_loop().time()
        if self._merged is None or now_s >= self._until_s:
            theirs = await self._ask_cells()
            self._until_s = now_s + (_KEPT_S if theirs is not None else _RETRY_S)
            if theirs is not None or self._merged is None:
                self._merged = msgspec.json.encode(merge_documents(own, theirs or {}))
        return self._merged

    async def _ask_cells(self) -> dict[str, Any] | None:
        for cell in self._fleet.cells():
            try:
                answer = await self._calls.fetch_document(cell, "/openapi.json")
                if answer.status == 200:
                    document: dict[str, Any] = msgspec.json.decode(answer.body, type=dict[str, Any])
                    return document
            except (RouterRefusal, msgspec.DecodeError) as error:
                _log.debug("a cell gives no document", extra={"cell": cell.label, "why": str(error)})
        return None


def merge_documents(own: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Pure. Only `/v1` of theirs is public; where both name a component, ours is the same shape or keeps its name."""
    paths = {path: item for path, item in theirs.get("paths", {}).items() if path.startswith("/v1/")}
    paths.update({path: item for path, item in own.get("paths", {}).items() if path.startswith("/v1/")})
    components: dict[str, Any] = {}
    for document in (theirs, own):
        for kind, named in document.get("components", {}).items():
            components.setdefault(kind, {}).update(named)
    components["securitySchemes"] = _SECURITY
    for path, item in paths.items():
        describe_own(path, item)
        describe_answers(item)
        if path not in ("/v1/users", "/v1/tokens"):
            for operation in item.values():
                if isinstance(operation, dict):
                    operation.setdefault("security", [{"customer": []}])
    return {
        "openapi": own.get("openapi", "3.1.0"),
        "info": own.get("info", {}),
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }
