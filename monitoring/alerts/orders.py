"""What customers were promised: an order is acknowledged within half a second (95 of 100; 99 within one), and works.

Judged on counts: slow ones of all, failed ones of all. Errors burn a budget of one in a thousand; the fast alert wants
14.4 times that over five minutes and an hour (two percent of a month's budget), the slow one six times over half an
hour and six hours, so that one bad minute wakes nobody and a bad day is not missed.
"""

from typing import Final

from monitoring.alert import Alert, Severity

_PLACED: Final = 'cell_request_seconds_count{route="place"}'


def _slower_than(bound: str, share: str) -> str:
    within = f'cell_request_seconds_bucket{{route="place",le="{bound}"}}'
    return (
        f"1 - sum by (cell) (rate({within}[5m])) / sum by (cell) (rate({_PLACED}[5m])) > {share} "
        f"and sum by (cell) (rate({_PLACED}[5m])) > 0.2"  # sixty orders in five minutes: of fewer nothing is said
    )


def _failing(windows: tuple[str, str], share: str) -> str:
    return " and ".join(
        f'sum by (cell) (rate(router_requests_total{{result="5xx"}}[{window}])) '
        f"/ sum by (cell) (rate(router_requests_total[{window}])) > {share}"
        for window in windows
    )


def _placed(bound: str, within: str, all_: str) -> dict[str, str]:
    labels = 'cell="cell-1",instance="cell-1-api:1",job="api",route="place"'
    return {
        f'cell_request_seconds_bucket{{{labels},le="{bound}"}}': within,
        f"cell_request_seconds_count{{{labels}}}": all_,
    }


def _answered(good: str, bad: str) -> dict[str, str]:
    labels = 'cell="cell-1",instance="router-1:1",job="router"'
    return {
        f'router_requests_total{{{labels},result="2xx"}}': good,
        f'router_requests_total{{{labels},result="5xx"}}': bad,
    }


ORDERS: Final = (
    Alert(
        name="OrdersSlow",
        query=_slower_than("0.5", "0.05"),
        for_s=120,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: more than 5 % of orders take longer than 0.5 s",
        fires=_placed("0.5", "0+90x30", "0+100x30"),
        labels={"cell": "cell-1"},
        quiet=(_placed("0.5", "0+96x30", "0+100x30"), _placed("0.5", "0+1x30", "0+2x30")),
    ),
    Alert(
        name="OrdersVerySlow",
        query=_slower_than("1.0", "0.01"),
        for_s=120,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: more than 1 % of orders take longer than 1 s",
        fires=_placed("1.0", "0+98x30", "0+100x30"),
        labels={"cell": "cell-1"},
        quiet=(_placed("1.0", "0+199x30", "0+200x30"),),
    ),
    Alert(
        name="RequestsFailing",
        query=_failing(("5m", "1h"), "0.0144"),
        for_s=60,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: requests fail at 14 times the rate that a month allows",
        fires=_answered("0+97x30", "0+3x30"),
        labels={"cell": "cell-1"},
        quiet=(_answered("0+99x30", "0+1x30"), _answered("0+1000x30", "0+100x4 400x25")),
    ),
    Alert(
        name="RequestsFailingSlowly",
        query=_failing(("30m", "6h"), "0.006"),
        for_s=300,
        severity=Severity.TICKET,
        summary="{{ $labels.cell }}: requests fail at six times the rate that a month allows",
        fires=_answered("0+99x30", "0+1x30"),
        labels={"cell": "cell-1"},
        quiet=(_answered("0+1000x30", "0+5x30"),),
    ),
)
