"""What a router sees of the fleet: an old map, a cell that does not answer, requests that it must shed."""

from typing import Final

from monitoring.alert import Alert, Severity

_ROUTER: Final = {"instance": "router-1:1", "job": "router", "process": "router-1"}
_OF_ROUTER: Final = 'instance="router-1:1",job="router",process="router-1"'
_OF_CELL: Final = f'cell="cell-1",{_OF_ROUTER}'


def _map_age(value: str) -> dict[str, str]:
    return {f"router_map_age_seconds{{{_OF_ROUTER}}}": value}


def _epochs(one: str, other: str) -> dict[str, str]:
    return {
        'router_map_epoch{instance="router-1:1"}': one,
        'router_map_epoch{instance="router-2:1"}': other,
    }


def _over(reason: str) -> str:
    """More than a twentieth of what customers asked of a cell was shed for that reason."""
    return (
        f'sum by (cell) (rate(router_requests_shed_total{{reason="{reason}"}}[5m])) > '
        "0.05 * sum by (cell) (rate(router_requests_total[5m]) or rate(router_requests_shed_total[5m]))"
    )


def _shed(shed: str, served: str, *, reason: str) -> dict[str, str]:
    return {
        f'router_requests_shed_total{{{_OF_CELL},reason="{reason}"}}': shed,
        f'router_requests_total{{{_OF_CELL},result="2xx"}}': served,
    }


ROUTERS: Final = (
    Alert(
        name="MapOld",
        query="router_map_age_seconds > 60 or router_map_age_seconds < 0",
        for_s=30,
        severity=Severity.PAGE,
        summary="{{ $labels.process }}: neither Redis nor the control database has confirmed the map for a minute",
        fires=_map_age("0+15x30"),
        labels=_ROUTER,
        quiet=(_map_age("5x30"), _map_age("-1x1 5x28")),
    ),
    Alert(
        name="MapsDiffer",
        query="max(router_map_epoch) - min(router_map_epoch) > 0",
        for_s=60,
        severity=Severity.TICKET,
        summary="routers work with maps of different epochs",
        fires=_epochs("8x30", "7x30"),
        labels={},
        quiet=(_epochs("8x30", "8x30"), _epochs("7x28 8x1", "7x30")),
    ),
    Alert(
        name="BreakerOpen",
        query="max by (cell) (router_breakers_open) > 0",
        for_s=15,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: a router does not ask an app server any more",
        fires={f"router_breakers_open{{{_OF_CELL}}}": "1x30"},
        labels={"cell": "cell-1"},
        quiet=({f"router_breakers_open{{{_OF_CELL}}}": "0x30"},),
    ),
    Alert(
        name="RequestsShed",
        query=_over("queue"),
        for_s=60,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: more than 5 % of requests are shed, because the cell had no permit in time",
        fires=_shed("0+10x30", "0+90x30", reason="queue"),
        labels={"cell": "cell-1"},
        quiet=(
            _shed("0+1x30", "0+99x30", reason="queue"),
            _shed("0x30", "0+99x30", reason="queue"),
            _shed("0+50x30", "0+50x30", reason="rate"),
        ),
    ),
    Alert(
        name="OrdersOverRate",
        query=_over("rate"),
        for_s=600,
        severity=Severity.TICKET,
        summary="{{ $labels.cell }}: for ten minutes more orders come than its stated rate lets in",
        fires=_shed("0+10x30", "0+90x30", reason="rate"),
        labels={"cell": "cell-1"},
        quiet=(_shed("0+1x30", "0+99x30", reason="rate"), _shed("0+50x30", "0+50x30", reason="queue")),
    ),
    Alert(
        name="MisrouteLoops",
        query="increase(router_misroute_loops_total[5m]) > 0",
        for_s=0,
        severity=Severity.PAGE,
        summary="{{ $labels.process }}: two cells say of a user that the other one owns them",
        fires={f"router_misroute_loops_total{{{_OF_ROUTER}}}": "0x25 3x4"},
        labels=_ROUTER,
        quiet=({f"router_misroute_loops_total{{{_OF_ROUTER}}}": "3x30"},),
    ),
)
