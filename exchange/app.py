"""Wiring: log, market, the port of the cells, the operator port; opened in this order, closed in reverse."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from litestar import Router
from litestar.di import Provide

from exchange.controller import ExchangeController, TapeController
from exchange.hours import trading_hours
from exchange.log import DurableLog
from exchange.market import Market
from exchange.metrics import METRICS
from exchange.operator_roles import LEAST_ROLES
from exchange.settings import ExchangeSettings
from infra.runtime.clock import make_clock
from infra.runtime.fault_points import FaultPoints
from infra.runtime.operator_api import Operators, create_operator_app, load_operator_ring, operator_keys, serving
from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import Metrics

_log = logging.getLogger(__name__)
CONTROLLERS: Final = (TapeController, ExchangeController)
"""Of the operator port."""


async def run_exchange(settings: ExchangeSettings, shutdown: Shutdown) -> None:
    """Serve until the end is asked for; what was taken is on disk when this returns."""
    loop = asyncio.get_running_loop()
    metrics = Metrics(METRICS)
    log = DurableLog(settings.data_dir)
    clock = make_clock(settings.clock.offset_s)
    hours = trading_hours(settings.market_hours, clock.now())
    market = Market(
        log, seed=settings.seed, metrics=metrics, fault_points=FaultPoints(), hours=hours, now_us=clock.epoch_us
    )
    stop = asyncio.Event()
    running = asyncio.create_task(market.run(stop), name="market")
    running.add_done_callback(lambda _: shutdown.ask())  # a market that fails ends the process

    operator_ring = load_operator_ring(settings.keys_dir)

    async def ready() -> tuple[bool, Mapping[str, object]]:
        return not running.done(), {"log_id": log.log_id, "keys": operator_keys(operator_ring)}

    routes = Router(
        path="/",
        route_handlers=CONTROLLERS,
        dependencies={"verbs": Provide(lambda: market.admin, sync_to_thread=False)},
        request_max_body_size=settings.tape_bytes_max,
    )
    operators = Operators("exchange", operator_ring, LEAST_ROLES, clock.epoch_s)
    app = create_operator_app(metrics=metrics, ready=ready, routes=[routes], operators=operators)
    server = await loop.create_server(market.connect, settings.listen.host, settings.listen.port, backlog=128)
    try:
        async with serving(app, settings.operator):
            _log.info("serving", extra={"port": settings.listen.port, "operator_port": settings.operator.port})
            await shutdown.wait()
    finally:
        server.close()
        stop.set()
        await running
        log.close()
    _log.info("stopped")
