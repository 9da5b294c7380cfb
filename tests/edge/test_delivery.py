"""What is delivered, on the real broker, to a real file and a real webhook."""

import threading
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.dev import Stack
from streams.edge.insisting import Patience
from streams.edge.targets import JsonLines, Webhook
from streams.errors import SetupError, StateError
from streams.kafka.admin import Admin
from tests.edge.desk import SOON, Desk, Receiver, keys, keys_of, lines, record
from tests.integration.application import until


@pytest.fixture
def desk(stack: Stack, unique: str, tmp_path: Path) -> Desk:
    """An application's tickets."""
    return Desk(stack, unique, tmp_path)


def wait_for(file: Path, count: int) -> None:
    until(lambda: len(lines(file)) >= count, 20, what=f"line {count}")


def test_every_ticket_goes_to_the_file_once_and_in_order(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there, and those that come; a second run begins where the first one ended. Faust makes no topic.

    Faust lets the environment overrule what a program says: here it must not.
    """
    monkeypatch.setenv("BROKER_URL", "kafka://127.0.0.1:1")
    monkeypatch.setenv("APP_DATADIR", str(tmp_path / "elsewhere"))
    file = tmp_path / "tickets.jsonl"
    file.write_text('{"id": "torn by a crash of the machine')
    first = [record(number, revision) for revision in (1, 2) for number in range(3)]
    closed = record(1, 3, state="CLOSED", closed=0, statistic=float("inf"), reference=b"\x01\xff")
    desk.write(*first)
    whole = tmp_path / "whole.jsonl"
    with desk.delivering(JsonLines(whole)) as delivering:
        wait_for(whole, 6)
        desk.write(closed)
        wait_for(whole, 7)
        counts = delivering.stop()
    assert (7, 0) == (counts.delivered, counts.passed_over)
    assert keys_of([*first, closed]) == keys(whole)
    said = lines(whole)[-1]
    assert ("1970-01-01T00:00:00+00:00", "2026-09-21T14:13:20+00:00") == (said["closed"], said["opened"])
    assert (None, "01ff", 3_600_000, []) == tuple(said[one] for one in ("statistic", "reference", "window_ms", "path"))

    desk.write(record(9))
    with desk.delivering(JsonLines(file)) as delivering:
        until(lambda: file.read_text().count("\n") == 2, 20, what="the line after the torn one")
        delivering.stop()
    assert record(9)["sentence"] in file.read_text().splitlines()[1]
    assert desk.committed == 10, "8 tickets and 2 markers"
    topics = (
        AdminClient({"bootstrap.servers": str(desk.settings.kafka["bootstrap.servers"])}).list_topics(timeout=10).topics
    )
    assert {desk.settings.tickets} == {name for name in topics if name.startswith(desk.settings.app.id)}
    assert not [name for name in topics if "assignor" in name]
    assert not (tmp_path / "elsewhere").exists()


def test_every_ticket_goes_to_the_webhook_once_and_in_order(desk: Desk) -> None:
    """As JSON, with a key that a repetition would have, too."""
    tickets = [record(number, revision) for revision in (1, 2) for number in range(3)]
    desk.write(*tickets)
    with Receiver() as receiver, desk.delivering(Webhook(receiver.url)) as delivering:
        receiver.wait_for(6)
        delivering.stop()
    assert keys_of(tickets) == [one.key for one in receiver.requests]
    assert keys_of(tickets) == [f"{one.body['id']}:{one.body['revision']}" for one in receiver.requests]
    assert {"application/json"} == {one.kind for one in receiver.requests}


@pytest.mark.parametrize(("isolation", "seen"), [("read_committed", [2]), ("read_uncommitted", [1, 2])])
def test_a_ticket_of_an_aborted_transaction_is_never_delivered(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str, seen: list[int]
) -> None:
    """And this test would notice: as Faust is, it is delivered."""
    monkeypatch.setattr("streams.edge.committed.ISOLATION", isolation)
    file = tmp_path / "tickets.jsonl"
    desk.write(record(1), commit=False)
    desk.write(record(2))
    with desk.delivering(JsonLines(file)) as delivering:
        wait_for(file, len(seen))
        delivering.stop()
    assert keys_of([record(number) for number in seen]) == keys(file)


def answer(key: str, tries: int) -> int:
    """Answer to a ticket by its id's last digit."""
    statuses = {"1": [500, 500, 200], "2": [400], "3": [408, 425, *9 * [429], 200], "4": [307], "5": [204]}[key[15]]
    return statuses[min(tries, len(statuses) - 1)]


def test_what_passes_is_waited_for_and_what_does_not_is_passed_over(desk: Desk) -> None:
    """In order, and a ticket that is never taken does not keep the later ones back for ever."""
    tickets = [record(number) for number in (1, 2, 3, 4, 5)]
    desk.write(*tickets)
    with Receiver(answer) as receiver, desk.delivering(Webhook(receiver.url)) as delivering:
        receiver.wait_for(3)
        counts = delivering.stop()
    assert keys_of(tickets[::2]) == receiver.taken
    expected = [500, 500, 200, *SOON.tries * [400], 408, 425, *9 * [429], 200, *SOON.tries * [307], 204]
    assert expected == [one.status for one in receiver.requests]
    assert (3, 2) == (counts.delivered, counts.passed_over)


def test_a_webhook_that_does_not_answer_is_waited_for(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel takes its connections, and nobody answers, until it is begun. No secret of its address is logged.

    What is ended while it waits has not acknowledged, as it would have in Faust: the next one delivers.
    """
    receiver, said = Receiver(), ""
    desk.write(record(1))

    def complained() -> bool:
        nonlocal said
        said += "".join(capsys.readouterr())
        return "no answer" in said

    with desk.delivering(Webhook(receiver.url), Patience(0.01, 60.0, 2, timeout_s=0.2)) as delivering:
        until(complained, 20, what="saying that there is no answer")
        counts = delivering.stop()
    assert (0, 0) == (counts.delivered, counts.passed_over)
    with receiver, desk.delivering(Webhook(receiver.url)) as delivering:
        until(lambda: desk.committed == 1, 20, what="taking the ticket")
        counts = delivering.stop()
    assert (1, 0) == (counts.delivered, counts.passed_over)
    assert set(keys_of([record(1)])) == set(receiver.taken), "what was given up on may still be in the kernel's queue"
    assert "canary" not in said + "".join(capsys.readouterr())


def test_what_is_no_ticket_is_passed_over(desk: Desk, tmp_path: Path) -> None:
    """Whatever it is, the ones after it are delivered, and no process dies over it. A time that no calendar has is a number."""
    file, frame = tmp_path / "tickets.jsonl", b"\0" + desk.schema_id.to_bytes(4, "big")
    bad: list[bytes | None] = [None, b"", b"{}", frame, frame + b"\xff" * 40, b"\0\x7f\xff\xff\xff" + b"x"]
    desk.write_raw(*((b"%d" % number, value) for number, value in enumerate(bad)))
    desk.write(record(1) | {"id": "two\r\nlines"}, record(2) | {"newest": 1 << 62}, record(3))
    with desk.delivering(JsonLines(file)) as delivering:
        wait_for(file, 2)
        counts = delivering.stop()
    assert keys_of([record(2), record(3)]) == keys(file)
    assert f'"newest": {1 << 62}' in file.read_text()
    assert (2, len(bad) + 1) == (counts.delivered, counts.passed_over)


def test_a_disk_that_is_full_ends_it_and_nothing_is_committed(desk: Desk, tmp_path: Path) -> None:
    """The ticket is delivered by the next one: an error does not acknowledge, as it does in Faust."""
    desk.write(record(1), record(2))
    with desk.delivering(JsonLines(Path("/dev/full"))) as delivering, pytest.raises(StateError, match="No space left"):
        delivering.ended()
    file = tmp_path / "tickets.jsonl"
    with desk.delivering(JsonLines(file)) as delivering:
        wait_for(file, 2)
        delivering.stop()
    assert keys_of([record(1), record(2)]) == keys(file)


def test_it_can_be_ended_while_it_begins(desk: Desk, tmp_path: Path) -> None:
    """No thread outlives it, and nothing was done."""
    before = set(threading.enumerate())
    with desk.delivering(JsonLines(tmp_path / "tickets.jsonl")) as delivering:
        counts = delivering.stop()
    assert (0, 0) == (counts.delivered, counts.passed_over)
    assert set() == set(threading.enumerate()) - before


def test_a_topic_that_is_missing_is_said(stack: Stack, unique: str, tmp_path: Path) -> None:
    """With what creates it; nothing is created here."""
    desk = Desk(stack, unique, tmp_path)
    settings = desk.settings.model_copy(update={"app": desk.settings.app.model_copy(update={"id": f"{unique}.other"})})
    desk.settings = settings
    with desk.delivering(JsonLines(tmp_path / "tickets.jsonl")) as delivering, pytest.raises(SetupError) as refused:
        delivering.ended()
    assert "streams topics apply" in str(refused.value)
    assert {} == Admin(settings.kafka).topics([settings.tickets])
