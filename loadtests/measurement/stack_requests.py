"""The orders of a stack's customers, through the router and past it."""

from loadtests.measurement.load_result import RequestOf
from loadtests.measurement.order_requests import order_around_key, orders_round_robin
from loadtests.measurement.stack_customers import Bench


def through_router(
    bench: Bench, round_number: int, connections: int | None = None, *, name: str = "router"
) -> RequestOf:
    heads = [
        order_around_key(bench.router_url, {"Authorization": f"Bearer {customer.access_token}"}, bench.body())
        for customer in bench.customers
    ]
    return orders_round_robin(heads, connections, f"{name}-{round_number}")


def to_cell(bench: Bench, round_number: int, connections: int | None = None) -> RequestOf:
    body = bench.body()
    heads = [order_around_key(bench.cell_url, {"X-Route-Token": token}, body) for token in bench.route_tokens()]
    return orders_round_robin(heads, connections, f"cell-{round_number}")
