"""Locust's entry: `locust -f loadtests/locustfile.py --host "$ROUTER_URL" --accounts FILE`, with or without
`--headless` and `--processes N`. `python -m loadtests spike` runs it and judges what came of it.
"""

from loadtests.load.locust_customer import Bot, DayTrader, FomoBuyer, Holder, Lurker, PanicSeller
from loadtests.load.locust_gate import Morning

__all__ = ["Bot", "DayTrader", "FomoBuyer", "Holder", "Lurker", "Morning", "PanicSeller"]
