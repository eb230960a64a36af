"""Every dashboard."""

from typing import Final

from monitoring.dashboard import Dashboard
from monitoring.dashboards.cell import CELL
from monitoring.dashboards.fleet import FLEET
from monitoring.dashboards.load_test import LOAD_TEST
from monitoring.dashboards.router import ROUTER

DASHBOARDS: Final[tuple[Dashboard, ...]] = (FLEET, CELL, ROUTER, LOAD_TEST)
