"""Requests as plain numbers, and the metrics they become when somebody asks."""

from prometheus_client import CollectorRegistry, generate_latest

from cell.request_figures import AppServerCollector, RequestFigures
from infra.runtime.fair_permits import FairPermits


def rendered(figures: RequestFigures) -> str:
    registry = CollectorRegistry()
    shares = FairPermits(permits_max=1, permits_per_holder_max=1, waiting_max=1, waiting_per_holder_max=1)
    registry.register(AppServerCollector(figures, {}, shares))
    return generate_latest(registry).decode()


def test_a_latency_on_a_bound_counts_as_within_it() -> None:
    figures = RequestFigures()
    for took_s in (0.5, 0.500001, 7.0):
        figures.place.answered(201, took_s)
    text = rendered(figures)
    for sample in (
        'cell_request_seconds_bucket{le="0.2",route="place"} 0.0',
        'cell_request_seconds_bucket{le="0.5",route="place"} 1.0',
        'cell_request_seconds_bucket{le="1.0",route="place"} 2.0',
        'cell_request_seconds_bucket{le="+Inf",route="place"} 3.0',
        'cell_request_seconds_count{route="place"} 3.0',
    ):
        assert sample in text, sample


def test_each_route_and_class_of_status_counts_for_itself() -> None:
    figures = RequestFigures()
    figures.place.answered(503, 0.1)
    figures.cancel.answered(202, 0.1)
    figures.other.answered(304, 0.1)
    text = rendered(figures)
    for result, route in (("5xx", "place"), ("2xx", "cancel"), ("3xx", "other")):
        assert f'cell_requests_total{{result="{result}",route="{route}"}} 1.0' in text
    assert text.count("cell_requests_total{") == 12
