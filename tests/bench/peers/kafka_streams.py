"""Kafka Streams as a system of the benchmark: built once with Maven, run as a Java process. The program is beside this file."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from streams.dev import Stack
from streams.errors import SetupError
from streams.kafka.admin import Admin
from tests.bench.systems import CONTRACT, PARTITIONS

HOME = Path(__file__).parent / "kafka-streams"
JVM = ["-Xmx1g", "-XX:+UseG1GC"]


class KafkaStreams:
    """One application on Kafka Streams, with EOS v2; every instance has its own id, state and topic of results."""

    label = "Kafka Streams"

    def __init__(self, stack: Stack, home: Path, name: str, requests: str, package: Path, threads: int = 1) -> None:
        home.mkdir(parents=True)
        self._stack, self._home, self._name, self._package, self._threads = stack, home, name, package, threads
        self.requests, self.results = requests, f"{name}.streams.results"
        self._process: subprocess.Popen[bytes] | None = None
        appended = {"message.timestamp.type": "LogAppendTime"}
        Admin({"bootstrap.servers": stack.bootstrap}).create(self.results, PARTITIONS, 1, appended)
        (home / "features").write_text(_features(package))

    @staticmethod
    def build() -> None:
        """Compile the program and fetch its libraries, once. Raises: SetupError."""
        if not shutil.which("javac") or not shutil.which("mvn"):
            raise SetupError("Kafka Streams needs a JDK and Maven: apt-get install default-jdk-headless maven")
        built = subprocess.run(["mvn", "-q", "-B", "package"], cwd=HOME, check=False, capture_output=True, text=True)
        if built.returncode:
            raise SetupError(f"the Kafka Streams program was not built:\n{built.stdout[-2_000:]}")

    def begin(self) -> list[int]:
        """Start it."""
        about = {
            "app": f"{self._name}-streams",
            "bootstrap": self._stack.bootstrap,
            "in": self.requests,
            "out": self.results,
            "state": self._home / "state",
            "model": self._package / "model.txt",
            "features": self._home / "features",
            "schema": CONTRACT,
            "threads": self._threads,
        }
        command = ["java", *JVM, "-cp", f"{HOME}/target/peer.jar:{HOME}/target/lib/*", "bench.Main"]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(f"{key}={value}" for key, value in about.items())], stderr=log
            )
        return [self._process.pid]

    def end(self) -> None:
        """Stop it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(40)

    def complaints(self) -> list[str]:
        """Its answers are counted, nothing more."""
        return []

    def about(self) -> dict[str, str]:
        """Return its version and the settings that it printed."""
        (version,) = re.findall(
            r"<artifactId>kafka-streams</artifactId>\s*<version>(.*?)</version>", (HOME / "pom.xml").read_text()
        )
        said = (self._home / "log").read_text().partition("\n")[0].strip("{}")
        own = {"application.id", "bootstrap.servers", "state.dir", "consumer.group.instance.id", "num.stream.threads"}
        settings = dict(part.partition("=")[::2] for part in said.split(", ") if "=" in part)
        java = subprocess.run(["java", "-version"], check=True, capture_output=True, text=True).stderr.partition("\n")[
            0
        ]
        return {"version": version, "java": f"{java} {' '.join(JVM)}"} | {
            key: value for key, value in settings.items() if key not in own
        }


def _features(package: Path) -> str:
    """Return the model's features as the program reads them: one a line, with its categories."""
    manifest = tomllib.loads((package / "manifest.toml").read_text("utf-8"))
    return "".join(
        "\t".join([feature.get("from", feature["name"]), *feature.get("categories", ())]) + "\n"
        for feature in manifest["features"]
    )
