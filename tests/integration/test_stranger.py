"""The way of a stranger: a broker that somebody started by hand, as Kafka comes, and what the folder's README says.

The commands are read from the README that `streams init` writes, so what is run here is what a person pastes.
"""

import contextlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.cli import main
from streams.dev import artifacts
from streams.dev.broker import cluster_id
from streams.dev.java import find_java
from streams.dev.ports import free_ports
from streams.kafka.partitioner import partition_of
from streams.kafka.ready import wait_until_serving
from tests.integration.application import until
from tests.talker import Talker

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""
"""What Kafka's own example for one node sets; all else is its default: it makes topics by itself, groups wait for 3 s."""

ELSEWHERE = next(f"key-{at}" for at in range(100) if crc32(b"key-%d" % at) % 4 != partition_of(b"key-%d" % at, 4))
"""A key that librdkafka's own partitioner, CRC32, sends where Java's does not."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a broker with two commands, as the Kafka quick start does."""
    home, (port, controller) = tmp_path_factory.mktemp("stranger"), free_ports(2)
    (home / "server.properties").write_text(PROPERTIES.format(port=port, controller=controller))
    java = find_java().program
    jars = artifacts.provide(artifacts.BROKER, java, print) / "*"
    format_ = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster_id(bytes(16)), "-c"]
    command = [str(java), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", str(jars)]
    subprocess.run([*command, *format_, "server.properties"], cwd=home, check=True, timeout=60, capture_output=True)
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([*command, "kafka.Kafka", "server.properties"], cwd=home, stdout=log, stderr=log)
    try:
        wait_until_serving(f"127.0.0.1:{port}", 90)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(20)


class Folder:
    """An application's folder, with the addresses filled in, and a person in it."""

    def __init__(self, path: Path, broker: str, registry_url: str) -> None:
        self.path, self.broker = path, broker
        self.config = next(path.glob("*.toml"))
        text = self.config.read_text().replace("127.0.0.1:19092", broker)
        self.config.write_text(text.replace("http://127.0.0.1:18081/apis/ccompat/v7", registry_url))

    def commands(self) -> list[list[str]]:
        """Return the README's commands, block by block."""
        blocks = re.findall(r"```sh\n(.*?)```", (self.path / "README.md").read_text(), re.DOTALL)
        return [block.splitlines() for block in blocks]

    def argv(self, command: str) -> list[str]:
        """Return a README's command as this Python runs it."""
        program, *arguments = shlex.split(command)
        known = {"streams": [sys.executable, "-m", "streams.cli"], "python": [sys.executable]}
        return known[program] + arguments

    def run(self, command: str) -> str:
        """Run a command to its end, which must be good; return what it said."""
        argv = self.argv(command)
        ended = subprocess.run(argv, cwd=self.path, check=False, timeout=60, capture_output=True, text=True)
        if "Timeout" in ended.stderr:  # nothing was sent then; see `Answers`
            ended = subprocess.run(argv, cwd=self.path, check=False, timeout=60, capture_output=True, text=True)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def uncomment(self, begin: str, end: str) -> None:
        """Take the `#` away between two sections of the configuration."""
        text = self.config.read_text()
        first, last = text.index(f"# {begin}"), text.index(f"# {end}")
        self.config.write_text(text[:first] + re.sub(r"^# ", "", text[first:last], flags=re.MULTILINE) + text[last:])

    def careless(self) -> str:
        """Write a producer that does not set the partitioner, and return its name."""
        script = (self.path / "produce.py").read_text()
        without = script.replace(' | {"partitioner": "murmur2_random"}', "")
        assert without != script
        (self.path / "careless.py").write_text(without)
        return "careless.py"

    def send_raw(self, value: bytes) -> None:
        """Write bytes to the request topic."""
        producer = Producer({"bootstrap.servers": self.broker})
        producer.produce(f"{self.config.stem}.requests.live", value, b"raw")
        assert 0 == producer.flush(20)


class Answers:
    """`consume.py`, started again where it ended: the local registry now and then leaves a request without an answer."""

    def __init__(self, folder: Folder, command: str) -> None:
        self.folder, self.command, self.before = folder, command, ""
        self.talker = Talker(folder.argv(command), folder.path)

    def until(self, words: str, seconds: float) -> None:
        """Wait until a line with these words was said."""
        if words in self.before:
            return
        try:
            self.talker.until(words, seconds)
        except AssertionError:
            if self.before or "Timeout" not in self.talker.text or self.talker.process.poll() is None:
                raise
            self.before += self.talker.text
            self.talker = Talker(self.folder.argv(self.command), self.folder.path)
            self.until(words, seconds)


class Streams:
    """`streams`, in this process: its imports would cost a second each time."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, command: str, code: int = 0) -> str:
        """Run a command; return what it said, after checking its exit code."""
        program, *arguments = shlex.split(command)
        assert "streams" == program
        found = main(arguments)
        said = self._capsys.readouterr()
        assert code == found, f"{command}: {said.out}{said.err}"
        assert "Traceback" not in said.err
        return said.out + said.err


@pytest.fixture
def streams(capsys: pytest.CaptureFixture[str]) -> Streams:
    return Streams(capsys)


def begun(app: str, home: Path, broker: str, registry_url: str, streams: Streams) -> Folder:
    """Return what `streams init` wrote, with the addresses filled in."""
    streams(f"streams init {app} --dir {home / app}")
    return Folder(home / app, broker, registry_url)


def test_from_init_to_verify(
    tmp_path: Path, broker: str, registry_url: str, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the README, in its order; then requests as somebody else's code gets them wrong."""
    folder = begun("loans", tmp_path, broker, registry_url, streams)
    monkeypatch.chdir(folder.path)
    prepare, (score,), (consume,), ask, (verify,), (*more, count), (label, show, drift) = folder.commands()
    for command in prepare:
        said = streams(command)
    assert "\nok      writing" in said, "the doctor comes last"
    scorer, consumer = Talker(folder.argv(score), folder.path), Answers(folder, consume)
    talkers = [scorer]
    try:
        for command in ask:
            folder.run(command)
        for words in (
            "START loans.requests.live Nothing is claimed about requests below this offset.",
            "SCORED mine repaid",
            "DUPLICATE mine This request was answered before",
            "CONFLICT mine ",
            'Field purpose is "yacht"; the contract allows car, debts, education, home, other.',
            "Field rate is null, and the model does not answer without it.",
        ):
            consumer.until(words, 30)
        folder.send_raw(b"no avro")
        consumer.until("DEAD LETTER b'raw' The value does not begin with the magic byte 0x00.", 10)
        folder.run(f"python {folder.careless()} {ELSEWHERE}")
        consumer.until(f"MISPARTITIONED {ELSEWHERE} The key belongs to partition", 10)
        consumer.until("in librdkafka set partitioner=murmur2_random", 1)
        consumer.talker.process.send_signal(signal.SIGINT)
        assert 0 == consumer.talker.end(20), consumer.talker.text
        checked = streams(verify)
        assert re.search(r"^loans\.requests\.live +4 +7 +7 +0$", checked, re.MULTILINE), checked
        assert "each request has exactly one terminal record" in checked
        folder.uncomment("[labels]", "[dedupe]")
        for command in more:
            streams(command)
        monitor = Talker(folder.argv(count), folder.path)
        talkers.append(monitor)
        folder.run(label)
        until(
            lambda: re.search(r"^loans-default 1 .* 1  +1  +0  +0  +0%", streams(show), re.MULTILINE) is not None,
            60,
            what="a line",
        )
        told = streams(drift)
        assert re.search(r"^loans-default 1 +amount .* no window has 100 records$", told, re.MULTILINE), told
        for talker in (scorer, monitor):
            talker.process.terminate()
            assert 0 == talker.end(20), talker.text
        assert "each label and result is counted once" in streams(verify)
    finally:
        for talker in (*talkers, consumer.talker):
            with contextlib.suppress(subprocess.TimeoutExpired):
                talker.process.terminate()
                talker.end(20)
            talker.process.kill()


def test_every_wrong_turn_names_the_right_one(
    tmp_path: Path, broker: str, registry_url: str, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands in the wrong order, and what people mistype: each says what to do next, and does nothing."""
    folder = begun("lost", tmp_path, broker, registry_url, streams)
    monkeypatch.chdir(folder.path)
    right, contract = folder.config.read_text(), folder.path / "schemas" / "request.v1.avsc"

    def mistyped(old: str, new: str) -> str:
        assert old in right
        Path("typo.toml").write_text(right.replace(old, new))
        return "typo.toml"

    assert "`streams init APP`" in streams("streams topics plan -c nowhere.toml", 2)
    assert "did you mean `partitions`?" in streams(
        f"streams topics plan -c {mistyped('partitions =', 'partition =')}", 2
    )
    wrong = streams(f"streams schemas check -c {mistyped(registry_url, 'http://127.0.0.1:9')}", 3)
    assert "http://127.0.0.1:9 does not answer" in wrong
    assert "[schema_registry]" in wrong
    wrong = streams(f"streams schemas register -c {mistyped('/apis/ccompat', '/nothing')}", 8)
    assert "Apicurio's in /apis/ccompat/v7" in wrong

    assert "`streams topics apply` does it" in streams("streams scorer run -c lost.toml", 4)
    assert "`streams topics apply`" in streams("streams verify -c lost.toml", 4)
    assert "`streams schemas register`" in streams("streams topics apply -c lost.toml", 4)
    streams("streams schemas register -c lost.toml")
    streams("streams topics apply -c lost.toml")
    assert "`streams models register`" in streams("streams scorer run -c lost.toml", 2)
    streams("streams models register package -c lost.toml")
    newer = mistyped('version = "1"', 'version = "2"')
    assert "Registered are: lost-default 1" in streams(f"streams scorer run -c {newer}", 2)
    (folder.path / "strict.avsc").write_text(contract.read_text().replace('"minimum": 100,', '"minimum": 200,'))
    stricter = mistyped("schemas/request.v1.avsc", "strict.avsc")
    noted = streams(f"streams models register package --dry-run -c {stricter}")
    assert "does not accept strict.avsc, the contract of lost.requests.live" in noted
    examined = streams(f"streams doctor -c {stricter}")
    assert "warn    model          model lost-default 1 does not accept strict.avsc" in examined
    manifest = folder.path / "package" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("threshold = 0.5", "threshold = 0.6"))
    for register in ("streams models register package --dry-run", "streams models register package"):
        assert "give the package a new `version`" in streams(f"{register} -c lost.toml", 2)
    assert "The topics are as they should be." in streams("streams topics plan -c lost.toml")


def test_a_producer_that_comes_first(
    tmp_path: Path, broker: str, registry_url: str, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker makes its topic, with one partition and the sender's time stamps: `plan` says so, and both ways out."""
    folder = begun("early", tmp_path, broker, registry_url, streams)
    monkeypatch.chdir(folder.path)
    ended = subprocess.run(folder.argv("python produce.py"), timeout=60, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Subject 'early.requests.live-value' not found" in ended.stderr
    assert "Traceback" not in ended.stderr
    streams("streams schemas register -c early.toml")
    folder.run("python produce.py first")

    planned = streams("streams topics plan -c early.toml", 4)
    assert "it has 1 partition, the configuration says 4. A broker with auto.create.topics.enable makes" in planned
    assert "kafka-topics.sh --delete --topic early.requests.live" in planned
    assert "Nothing was changed:" in streams("streams topics apply -c early.toml", 4)
    Path("one.toml").write_text(folder.config.read_text().replace("partitions = 4", "partitions = 1"))
    planned = streams("streams topics plan -c one.toml")
    assert "any request there will be refused (NO_APPEND_TIME): send it again after `apply`" in planned

    admin = AdminClient({"bootstrap.servers": broker})
    admin.delete_topics(["early.requests.live"])["early.requests.live"].result(20)
    until(lambda: "early.requests.live" not in admin.list_topics(timeout=10).topics, what="the deletion")
    assert "begin         early.requests.live[3] at offset 0" in streams("streams topics apply -c early.toml")
