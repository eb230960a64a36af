"""Two cells' app servers in this process, each with a real database and keys of its own, and a mover by hand."""

import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.operator_api import serving_on
from infra.runtime.settings import PostgresSettings
from infra.security.cell_keys import generate_cell_keys, public_keys_in, write_cell_directory
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase
from tests.support.operator_tokens import bearer

NAMES = ("cell-1", "cell-2")


class Refused(Exception):
    """A cell's answer that is not 200."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.code = body["code"]
        self.body = body


@dataclass
class MovingCell:
    name: str
    app: CellApp
    database: TestDatabase
    keys: Path

    async def ask(self, method: str, path: str, body: object = None, *, order: str | None = None) -> Any:
        """The answer: JSON, or a frame's bytes with the next place. Raises Refused."""
        headers = bearer(self.keys, self.name, method, f"/operator/v1{path}")
        if order is not None:
            headers["move-order"] = order
        media_type = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        status, said, answered = await ask_asgi(
            self.app.operator, method, f"/operator/v1{path}", body, headers=headers, media_type=media_type, raw=True
        )
        if said.get("content-type", "").startswith("application/octet-stream"):
            return answered, json.loads(said["move-place"]) if "move-place" in said else None
        document = json.loads(answered)
        if status != 200:
            raise Refused(status, document)
        return document

    async def as_customer(
        self, user_id: uuid.UUID, method: str, path: str, body: object = None, *, epoch: int
    ) -> tuple[int, Any]:
        """As the router brings them, with a token of this ownership epoch."""
        signer = RouteTokenSigner(load_key_ring(self.keys / ROUTE_FILE))
        token = signer.sign(user_id=user_id, cell_id=self.name, epoch=epoch, expires_at_s=int(time.time()) + 60)
        headers = {"x-route-token": token, "x-idempotency-key": uuid.uuid4().hex}
        status, _, answered = await ask_asgi(self.app.customer, method, path, body, headers=headers)
        return status, answered

    @contextmanager
    def owner(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.database.owner_dsn, autocommit=True) as connection:
            yield connection

    def value(self, query: str, *parameters: object) -> Any:
        with self.owner() as connection:
            row = connection.execute(query, parameters).fetchone()
        return row[0] if row else None


@dataclass
class HandMove:
    """One user's move, step by step, as a mover makes it; each step may be left out, repeated or made late."""

    source: MovingCell
    target: MovingCell
    user_id: uuid.UUID
    epoch: int = 10
    move_id: uuid.UUID = field(default_factory=uuid.uuid4)
    halt_id: uuid.UUID = field(default_factory=uuid.uuid4)
    mark: str = ""
    proof: Any = None
    certificate: str = ""

    async def _post(self, cell: MovingCell, step: str, **body: object) -> Any:
        document = {"user_id": str(self.user_id), **body}
        return await cell.ask("POST", f"/moves/{self.move_id}/{step}", document)

    async def begin(self) -> Any:
        said = await self._post(self.source, "begin", to=self.target.name, ownership_epoch=self.epoch)
        self.mark = said["snapshot"]
        return said

    async def arrive(self) -> Any:
        return await self._post(self.target, "arrive", **{"from": self.source.name}, ownership_epoch=self.epoch)

    async def load(self, frame: bytes) -> Any:
        return await self.target.ask("POST", f"/moves/{self.move_id}/load", frame)

    async def copy(self) -> int:
        place, pages = None, 0
        while True:
            frame, place = await self._post(self.source, "read", place=place)
            await self.load(frame)
            pages += 1
            if place is None:
                return pages

    async def catch_up(self) -> Any:
        frame, _ = await self._post(self.source, "catch-up", since=self.mark)
        header = header_of(frame)
        proof = await self.load(frame)
        compare(header, proof)
        self.mark = header["snapshot"]
        return header

    async def halt(self, lease_ms: int = 5_000) -> Any:
        frame, _ = await self._post(self.source, "halt", halt_id=str(self.halt_id), lease_ms=lease_ms, since=self.mark)
        header = header_of(frame)
        self.proof = await self.load(frame)
        compare(header, self.proof)
        return header

    async def depart(self) -> str:
        said = await self._post(self.source, "depart", halt_id=str(self.halt_id), proof=self.proof)
        self.certificate = said["certificate"]
        return self.certificate

    async def activate(self) -> Any:
        return await self._post(self.target, "activate", certificate=self.certificate)

    async def release(self) -> Any:
        return await self._post(self.source, "release")

    async def discard(self) -> Any:
        return await self._post(self.target, "discard")

    async def state(self, cell: MovingCell) -> str:
        said = await cell.ask("GET", f"/moves/{self.move_id}/?user_id={self.user_id}")
        return str(said["state"])

    async def until_halted(self) -> None:
        await self.begin()
        await self.arrive()
        await self.copy()
        await self.catch_up()
        await self.halt()

    async def whole(self) -> None:
        await self.until_halted()
        await self.depart()
        await self.activate()


def header_of(frame: bytes) -> Any:
    length = int.from_bytes(frame[:4], "big")
    return json.loads(frame[4 : 4 + length])


def compare(header: Any, proof: Any) -> None:
    for table in header["tables"]:
        if table["digest"] is not None:
            there = proof["tables"][table["table"]]
            assert (there["rows"], there["digest"]) == (table["total_rows"], table["digest"]), table["table"]
    assert proof["head"] == header["head"]
    assert not any(proof["findings"].values()), proof["findings"]


@asynccontextmanager
async def reachable(cell: MovingCell, folder: Path) -> AsyncIterator[None]:
    """The cell's operator port listens, and the directory says where."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_cell_directory(cell.keys, _directory(folder, {cell.name: (url,)}))
        async with serving_on(cell.app.operator, listener):
            yield


def _directory(folder: Path, urls: Mapping[str, tuple[str, ...]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(CellId(name), operator_urls=urls.get(name, ()), signing_keys=public_keys_in(folder / name))
        for name in NAMES
    )


@asynccontextmanager
async def two_cells(databases: tuple[TestDatabase, TestDatabase], folder: Path) -> AsyncIterator[list[MovingCell]]:
    keys = folder / "keys"
    generate_key_files(keys)
    for name in NAMES:
        generate_cell_keys(folder / name)
    write_cell_directory(keys, _directory(folder, {}))
    async with AsyncExitStack() as stack:
        cells = []
        for name, database in zip(NAMES, databases, strict=True):
            app = create_app(
                CellSettings(
                    name=name,
                    postgres=PostgresSettings(dsn=database.service_dsn),
                    mover_dsn=database.mover_dsn,
                    keys_dir=keys,
                    own_keys_dir=folder / name,
                    market_hours="always",
                )
            )
            await stack.enter_async_context(app.running())
            cells.append(MovingCell(name, app, database, keys))
        yield cells
