"""A router in this process, on real sockets, with a map from wherever the test says."""

import time
import uuid
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from infra.runtime.settings import ListenSettings, RedisSettings
from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, ROUTE_FILE, generate_key_files, load_key_ring, load_signing_ring
from infra.topology.bucketing import BUCKET_COUNT
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import ShardMap, build_map
from infra.topology.snapshot import encode_map
from router.app import Router
from router.client_connection import ClientConnection
from router.settings import ControlSettings, LimitSettings, RouterSettings, UpstreamSettings
from tests.support.free_port import free_port
from tests.support.raw_http import Answer, ask
from tests.support.stub_cell import StubCell, stub_cell

LINEAGE = uuid.UUID("11111111-2222-4333-8444-555555555555")
NO_LIMITS = LimitSettings(user_per_s=1e6, address_per_s=1e6, identity_per_s=1e6, user_burst=10**6, address_burst=10**6)
DEAD_POSTGRES = "postgresql://nobody@127.0.0.1:1/none"
DEAD_REDIS = "redis://127.0.0.1:1"


def map_of(
    cells: Mapping[str, tuple[str, ...]],
    *,
    epoch: int = 1,
    lineage: uuid.UUID = LINEAGE,
    pins: Iterable[tuple[uuid.UUID, str]] = (),
    since: int | None = None,
    pinned_since: int = 0,
) -> ShardMap:
    """Buckets are dealt out in turn, so every cell has users. `since`: the ownership epoch of all buckets, and
    `pinned_since` of all pins; without it the map is of format 1."""
    names, pinned = sorted(cells), list(pins)
    epochs = None
    if since is not None:
        epochs = OwnershipEpochs(array("Q", [since]) * BUCKET_COUNT, array("Q", [pinned_since]) * len(pinned))
    return build_map(
        lineage=lineage,
        epoch=epoch,
        cells=[Cell(CellId(name), api_urls=urls) for name, urls in cells.items()],
        buckets={bucket: names[bucket % len(names)] for bucket in range(BUCKET_COUNT)},
        pins=pinned,
        ownership=epochs,
    )


@dataclass
class RouterUnderTest:
    router: Router
    port: int
    operator_port: int
    cells: dict[str, StubCell]
    keys: Path
    shard_map: ShardMap

    def user_of(self, cell_id: str) -> uuid.UUID:
        while True:
            user_id = uuid.uuid4()
            owner = self.shard_map.locate(user_id)
            if owner is not None and owner.cell_id == cell_id:
                return user_id

    def token_of(self, user_id: uuid.UUID, *, ttl_s: int = 900) -> str:
        signer = CustomerTokenSigner(load_signing_ring(self.keys / CUSTOMER_SIGNING_FILE), ttl_s=ttl_s)
        return signer.sign(user_id, int(time.time()))

    def token(self, cell_id: str = "cell-1") -> str:
        return self.token_of(self.user_of(cell_id))

    def clients(self) -> list[ClientConnection]:
        """The connections that are open to it."""
        return cast(list[ClientConnection], self.router.clients.clients())

    async def ask(self, method: str, target: str, **options: Any) -> Answer:
        return await ask(self.port, method, target, **options)


@asynccontextmanager
async def running_router(
    folder: Path,
    *,
    control_dsn: str = DEAD_POSTGRES,
    redis_url: str = DEAD_REDIS,
    upstream: UpstreamSettings | None = None,
    edge: Mapping[str, Any] | None = None,
    epoch: int = 1,
    since: int | None = None,
    stubs: Sequence[str] = ("cell-1", "cell-2"),
    limits: LimitSettings = NO_LIMITS,
    now: Callable[[], float] = time.time,
    **others: Any,
) -> AsyncIterator[RouterUnderTest]:
    """Scripted cells, two of them, and a router that has nothing but its map file, unless asked for more."""
    keys = folder / "keys"
    generate_key_files(keys)
    ring = load_key_ring(keys / ROUTE_FILE)
    async with AsyncExitStack() as stack:
        cells = {name: await stack.enter_async_context(stub_cell(name, ring)) for name in stubs}
        shard_map = map_of({name: (cell.url,) for name, cell in cells.items()}, epoch=epoch, since=since)
        (folder / "router.map").write_bytes(encode_map(shard_map))
        settings = RouterSettings(
            name="router-test",
            listen=ListenSettings(port=free_port()),
            operator=ListenSettings(port=free_port()),
            control=ControlSettings(dsn=control_dsn, timeout_s=1.0),
            redis=RedisSettings(url=redis_url, timeout_s=0.5),
            map_file=folder / "router.map",
            keys_dir=keys,
            upstream=upstream or UpstreamSettings(),
            edge=dict(edge or {}),  # type: ignore[arg-type]
            map_poll_s=0.5,
            drain_s=3.0,
            limits=limits,
            **others,
        )
        router = Router(settings, now=now)
        await stack.enter_async_context(router.serving())
        yield RouterUnderTest(router, settings.listen.port, settings.operator.port, cells, keys, shard_map)
