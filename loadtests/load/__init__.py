"""Load as customers make it: classes of customers, a morning's shape, latency from when a request was due, a verdict.

The pure files (histogram, shapes, arrivals, symbols, customer_classes, decisions, honesty, verdict, plots) take no
clock, network or file. `locust_*` run inside Locust, the rest in the command that starts it.
"""
