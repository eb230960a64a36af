"""Every alert, by what it is about."""

from typing import Final

from monitoring.alert import Alert
from monitoring.alerts.cells import CELLS
from monitoring.alerts.control import CONTROL
from monitoring.alerts.orders import ORDERS
from monitoring.alerts.processes import PROCESSES
from monitoring.alerts.routers import ROUTERS

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "orders": ORDERS,
    "cells": CELLS,
    "routers": ROUTERS,
    "processes": PROCESSES,
    "control": CONTROL,
}
