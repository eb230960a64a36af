"""Servers that somebody else runs, named by the environment for a new stack."""

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from infra.backends.local.ports import claimed_ports, port_registry_path

_NAMES: Final = ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC_PREFIX")


def external_servers() -> Mapping[str, str]:
    """By the environment's names. Those of our own stacks do not count: `status -o env` exports the same names, and a
    second stack must not join the first one's Kafka by accident."""
    named = {name: os.environ[name] for name in _NAMES if os.environ.get(name)}
    servers = {name: named[name] for name in ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS") if name in named}
    own = {name for name, address in servers.items() if _is_own_port(address)}
    return {name: value for name, value in named.items() if name not in own}


def _is_own_port(address: str) -> bool:
    parts = urlsplit(address if "//" in address else f"//{address}")
    return parts.hostname in ("127.0.0.1", "localhost") and parts.port in claimed_ports(port_registry_path())
