"""An app server of a cell in this process, asked without a socket, with some users in its books."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase

CASH = 1_000_000_000_000


@dataclass
class CellPort:
    app: CellApp
    signer: RouteTokenSigner
    database: TestDatabase

    def open_user(self) -> uuid.UUID:
        """A professional with a million dollars."""
        user_id = uuid.uuid4()
        with psycopg.connect(self.database.service_dsn, autocommit=True) as connection:
            connection.execute(
                "select open_account_v1(%s, 1, 'professional', %s, null, 'x')",
                [user_id, f"{user_id}@example.com"],
            )
            connection.execute(
                "select deposit_cash_v1(array[%s], array['first'], array[%s::bytea], array[%s::bigint])",
                [user_id, b"f" * 16, CASH],
            )
        return user_id

    async def ask(self, user_id: uuid.UUID, method: str, target: str, body: object = None) -> tuple[int, Any]:
        expires_at_s = int(time.time()) + 60
        token = self.signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=expires_at_s)
        headers = {"x-route-token": token}
        if method != "GET":
            headers["x-idempotency-key"] = uuid.uuid4().hex
        status, _, answered = await ask_asgi(self.app.customer, method, target, body, headers=headers)
        return status, answered


@asynccontextmanager
async def cell_port(database: TestDatabase, folder: Path, *, dsn: str = "", **settings: Any) -> AsyncIterator[CellPort]:
    """`dsn`: another way to the same database, such as a proxy."""
    generate_key_files(folder)
    with psycopg.connect(database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
    app = create_app(
        CellSettings(
            name="cell-1",
            postgres=PostgresSettings(dsn=dsn or database.service_dsn),
            keys_dir=folder,
            market_hours="always",
            **settings,
        )
    )
    async with app.running():
        yield CellPort(app, RouteTokenSigner(load_key_ring(folder / ROUTE_FILE)), database)
