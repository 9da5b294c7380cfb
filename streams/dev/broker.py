"""How the local broker is set up: one Kafka node that is broker and controller, on loopback."""

import base64
import subprocess
import uuid
from pathlib import Path

from streams.dev.ports import HOST
from streams.errors import SetupError

OPTIONS = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # The quick compiler only: on two cores the thorough one takes more than it gives back in the first minutes. Over
    # 1.8 million records in transactions it cost 1.9 µs of CPU a record instead of 0.9, and a fifth of the throughput.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)
FORMAT_SECONDS = 120.0


def properties(port: int, controller_port: int) -> dict[str, str]:
    """Return the node's settings. Paths are relative to its folder, so no character of the folder's name can break them.

    A single node cannot replicate, so the internal topics have one replica; everything that a client's guarantee
    depends on is the broker's default. What differs otherwise makes a small machine, and tests, fast.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        # A fixed quorum, not a dynamic one: the controller may come back on another port.
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"BROKER://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"BROKER://{HOST}:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # A killed node is not let in again before its old session ends: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Everything is allowed until an ACL says otherwise, so that a client's permissions can be tried out here.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # The default scan, every 10 s, would let a dead producer's transaction block readers that much longer.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.initial.task.delay.ms": "2000",
        "log.retention.check.interval.ms": "2000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
    }


def properties_text(settings: dict[str, str]) -> str:
    """Return the settings as a Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def command(java: Path, archives: Path, folder: Path) -> list[str]:
    """Return the command that runs the node; its working directory must be `folder`."""
    return [
        str(java),
        *OPTIONS,
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
        "-cp",
        _classpath(archives),
        "kafka.Kafka",
        "server.properties",
    ]


def _classpath(archives: Path) -> str:
    return str(archives / "*")


def cluster_id(chosen: bytes) -> str:
    """Return 16 random bytes as Kafka writes ids, never with a leading `-`: its tool would take that for an option."""
    return base64.urlsafe_b64encode(bytes([chosen[0] & 0x7F]) + chosen[1:]).decode().rstrip("=")


def format_storage(java: Path, archives: Path, folder: Path) -> None:
    """Give a fresh node its cluster id; a node that has one keeps it, and its data.

    Raises: SetupError with what Kafka's tool said.
    """
    if (folder / "data" / "meta.properties").is_file():
        return
    short_lived = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    tool = [str(java), *short_lived, "-cp", _classpath(archives), "kafka.tools.StorageTool", "format"]
    tool += ["-t", cluster_id(uuid.uuid4().bytes), "-c", "server.properties"]
    try:
        ended = subprocess.run(tool, cwd=folder, capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SetupError(f"Kafka's storage tool did not format {folder / 'data'} in {FORMAT_SECONDS:.0f} s.") from None
    if ended.returncode != 0:
        raise SetupError(f"Kafka's storage tool could not format {folder / 'data'}:\n{ended.stdout}{ended.stderr}")
