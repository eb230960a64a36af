"""The plumbing every process needs and no process should write twice: settings, pools, logs, ports, signals.

It knows no brokerage noun. A module stays here only while two packages outside `infra` reach it.
"""
