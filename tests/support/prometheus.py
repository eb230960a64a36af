"""Ask a running Prometheus, as its pages do."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ANSWER_S = 10.0
PAUSE_S = 0.5
PATIENCE_S = 90.0
"""Scrapes and rules come every second in a drill; the rest is what a process needs to start on a busy machine."""


@dataclass(frozen=True)
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; AssertionError with what it said if it is not a success."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=ANSWER_S) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            document = json.load(error)
        assert document["status"] == "success", (document, parameters)
        return document["data"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.ask("query", query=promql)["result"]
        return result

    def firing(self) -> set[tuple[str, str]]:
        """(alert, process or cell) of what fires now."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("process") or alert["labels"].get("cell", ""))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def targets_up(self) -> set[str]:
        return {
            target["labels"]["process"]
            for target in self.ask("targets", state="active")["activeTargets"]
            if target["health"] == "up"
        }

    def await_firing(self, *alerts: tuple[str, str]) -> None:
        self.await_that(lambda: set(alerts) <= self.firing(), f"{alerts} fire")

    def await_quiet(self, *alerts: tuple[str, str]) -> None:
        self.await_that(lambda: not set(alerts) & self.firing(), f"{alerts} are quiet")

    def await_targets(self, wanted: set[str]) -> None:
        self.await_that(lambda: wanted == self.targets_up(), f"{wanted} are up, and no other")

    def await_that(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain until {what}; up: {self.targets_up()}, {self.firing()}"
            time.sleep(PAUSE_S)
