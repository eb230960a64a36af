"""A real Kafka broker for tests, from the local backend's own parts; a test may kill it and start it again."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.backends.backend import quiet
from infra.backends.local import kafka
from infra.backends.local.folders import cache_root
from infra.backends.local.java import Java, locate_java
from infra.backends.local.kafka_jars import locate_jars
from infra.runtime.kafka_admin import broker_topics
from tests.support.free_port import free_port
from tests.support.memory import memory_folder

_LIMIT_S = 60.0
_CLUSTER_ID = "dGVzdC1jbHVzdGVyLTAwMQ"


class KafkaBroker:
    """One broker on its own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._command: tuple[str, ...] = ()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    def prepare(self) -> None:
        """Format the data folder, once."""
        java, class_path = asyncio.run(_tools())
        properties, data = self._folder / "server.properties", self._folder / "data"
        text = kafka.render_properties(port=self._port, controller_port=free_port(), data=data)
        asyncio.run(
            kafka.prepare_storage(
                java=java,
                class_path=class_path,
                properties=properties,
                text=text,
                data=data,
                cluster_id=_CLUSTER_ID,
            )
        )
        self._command = kafka.broker_command(java, class_path, cache_root(), properties)

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)

    async def answers(self) -> None:
        """Wait until it does."""
        await broker_topics(self.bootstrap_servers, _LIMIT_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_LIMIT_S)
            self._process = None


async def _tools() -> tuple[Java, str]:
    return await locate_java(), await locate_jars(quiet)


@contextmanager
def run_kafka_broker() -> Iterator[KafkaBroker]:
    folder = Path(tempfile.mkdtemp(prefix="cell-brokerage-kafka-", dir=memory_folder()))
    broker = KafkaBroker(folder)
    try:
        broker.prepare()
        broker.start()
        asyncio.run(broker.answers())
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)
