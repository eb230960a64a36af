"""One Kafka broker (KRaft, broker and controller in one process) for a local stack.

Replication is 1 here and acknowledgements come from the page cache: that survives `kill -9` of the process, not of the
machine. The outbox in each cell is the truth and is what is lost last. Production runs three brokers.
"""

from pathlib import Path

from infra.backends.backend import BackendError
from infra.backends.local.commands import run_command
from infra.backends.local.java import Java
from infra.backends.replaced_file import replace_file

_ARCHIVE_JAVA_MIN = 19
"""Major version: since then it makes its archive of loaded classes by itself, so the second start is quick."""
_QUIET_JAVA_MIN = 24
"""Major version: since then it warns of native code that nobody allowed."""


def render_properties(*, port: int, controller_port: int, data: Path) -> str:
    return f"""\
# Written by the local backend at every start; edits are lost.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# With the defaults a broker that was killed answers after 11 s; with these after 4.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.retention.hours=-1
log.segment.bytes=67108864
"""


def java_options(java: Java, cache: Path) -> tuple[str, ...]:
    options = [
        "-Xms32m", "-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=48m",
        "-XX:MaxMetaspaceSize=96m", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    ]  # fmt: skip
    if java.version >= _ARCHIVE_JAVA_MIN:
        options += [f"-XX:SharedArchiveFile={cache / f'kafka-java-{java.version}.jsa'}", "-XX:+AutoCreateSharedArchive"]
    if java.version >= _QUIET_JAVA_MIN:
        options.append("--enable-native-access=ALL-UNNAMED")
    return tuple(options)


def broker_command(java: Java, class_path: str, cache: Path, properties: Path) -> tuple[str, ...]:
    return (str(java.executable), *java_options(java, cache), "-cp", class_path, "kafka.Kafka", str(properties))


def write_properties(properties: Path, text: str, data: Path) -> bool:
    """True if the data folder still has to be formatted."""
    replace_file(properties, text.encode(), mode=0o644)
    data.mkdir(parents=True, exist_ok=True)
    return not (data / "meta.properties").exists()


async def prepare_storage(
    *, java: Java, class_path: str, properties: Path, text: str, data: Path, cluster_id: str
) -> None:
    """Write the properties and format the data folder once. Raises BackendError."""
    if not write_properties(properties, text, data):
        return
    command = [
        str(java.executable), "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path,
        "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted", "-t", cluster_id,
        "-c", str(properties),
    ]  # fmt: skip
    result = await run_command(command)
    if result.exit_code != 0:
        raise BackendError(f"Kafka could not format {data}:\n{result.output.strip()[-2000:]}")
