"""The demo's labels: doubled, corrected, withdrawn, of nobody; and in the end of every flight what is true."""

from collections import Counter

from streams.demo import data
from streams.demo.truth import CORRECTED, DOUBLED, UNKNOWN, WITHDRAWN, labels
from streams.monitor.labels import NOTHING, Known, Prediction, label, labelled, predicted, withdrawal

FLIGHTS = data.flights(3)[:5_000]
LABELS = labels(FLIGHTS, 7)


def test_as_many_as_there_are_arrivals_and_what_goes_wrong_with_them() -> None:
    """Cancelled and diverted flights have no label; what is known sooner is said sooner."""
    arrived = FLIGHTS["late"].count()
    assert 0 < len(FLIGHTS) - arrived < 500
    assert len(LABELS) == arrived + CORRECTED + 2 * WITHDRAWN + DOUBLED + UNKNOWN
    versions = Counter(one["version"] for one in LABELS)
    assert (versions[2], versions[3], versions[4]) == (CORRECTED, WITHDRAWN, WITHDRAWN)
    assert [one["known_at"] for one in LABELS] == sorted(one["known_at"] for one in LABELS)
    assert LABELS == labels(FLIGHTS, 7)
    assert LABELS != labels(FLIGHTS, 8)


def test_a_label_is_known_hours_after_the_departure() -> None:
    """None before it, and almost all within half a day: the model's horizon is two."""
    hours = ((FLIGHTS["known_at"] - FLIGHTS["event_time"]) / 3_600_000).drop_nulls()
    assert hours.min() > 0.5  # type: ignore[operator]
    assert hours.max() < 48  # type: ignore[operator]


def test_in_the_end_what_is_believed_is_true() -> None:
    """Of every flight that arrived, by the monitor's own rules."""
    horizon_ms = 48 * 3_600_000
    events = dict(FLIGHTS.select("request_id", "event_time").iter_rows())
    known: dict[str, Known] = {
        name: predicted(NOTHING, Prediction(event_ms, bytes(8), b""), horizon_ms) for name, event_ms in events.items()
    }
    for one in LABELS:
        if one["request_id"] in known:
            made = (
                withdrawal(one["known_at"], one["version"])
                if one["withdrawn"]
                else label(str(one["late"]).encode(), one["known_at"], one["version"])
            )
            known[one["request_id"]] = labelled(known[one["request_id"]], made, horizon_ms)[0]
    for name, late in FLIGHTS.select("request_id", "late").iter_rows():
        truth = known[name].truth(horizon_ms)
        assert (None if truth is None else truth.value) == (None if late is None else str(late).encode())
