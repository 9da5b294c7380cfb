"""What is told of published windows: spans that add up, and cells that say what there is and what there is not."""

import json
from pathlib import Path

import pytest

from streams.monitor.merging import Merged, merged
from streams.monitor.telling import as_json, newest_ms, table, told
from streams.plotting import plot
from tests.monitor.stream import HOUR_MS, RULES, Monitor, label, result, run

LABELLED = [
    record
    for number in range(40)
    for record in (
        result(f"r{number}", number / 40, number * HOUR_MS // 10, model_version="1" if number % 2 else "2"),
        label(f"r{number}", "lost" if number % 3 else "kept", 5 * HOUR_MS),
    )
]


def published(monitor: Monitor) -> Merged:
    """Return what the parts add up to."""
    return merged(monitor.decoded(), RULES)


def test_spans_add_up() -> None:
    """Four windows of an hour, told one by one and as one."""
    found = published(run(LABELLED))
    newest = newest_ms(found, RULES)
    assert newest == 4 * HOUR_MS
    hours = told(found, RULES, 1, newest, None)
    (one, other) = told(found, RULES, 24, newest, None)
    assert [line.report.predictions for line in hours] == [5] * 8
    assert (one.report.predictions, other.report.predictions) == (20, 20)
    assert one.report.labelled == sum(line.report.labelled for line in hours if line.subject == one.subject)
    assert (one.subject.version, other.subject.version) == ("1", "2")
    assert one.end_ms - one.begin_ms == 24 * HOUR_MS


def test_the_table_has_a_line_a_subject_and_span() -> None:
    """With a head, an interval or an error where there is one, and a dash where there is nothing."""
    found = published(run(LABELLED[:2] + LABELLED[4:5]))
    head, line = table(told(found, RULES, 1, HOUR_MS, None))
    assert head.split()[:4] == ["model", "from", "to", "n"]
    assert line.split()[:2] == ["m", "2"]
    assert "1970-01-01 00:00" in line
    assert line.split("  ")[-1].strip() != ""
    assert " - " in line, "the AUC of one class is undefined"


def test_programs_get_everything() -> None:
    """As JSON, with the reason where a figure is undefined."""
    found = published(run(LABELLED[:2]))
    (line,) = told(found, RULES, 1, 100 * HOUR_MS, None)
    values = json.loads(json.dumps(as_json(line)))
    assert (values["predictions"], values["labelled"], values["mature"]) == (1, 1, 1.0)
    assert values["figures"]["auc"] == {
        "value": None,
        "why": "labels of one class only",
        "sampling": None,
        "between_blocks": None,
        "standard_error": None,
    }
    assert values["figures"]["accuracy"]["value"] == pytest.approx(1.0)
    assert sum(values["delays"]) == 1


def test_nothing_published_is_nothing_told() -> None:
    """There is no newest window then."""
    assert newest_ms(published(Monitor()), RULES) is None


def test_an_event_of_the_year_one_can_be_told_of(tmp_path: Path) -> None:
    """`DateTime.MinValue` of somebody's client: the week that it lies in begins before all calendars."""
    old = run([*LABELLED, result("old", 0.5, -62_135_596_800_000)])
    weeks = told(merged(old.decoded(), RULES), RULES, 168, 30 * HOUR_MS, None)
    assert min(line.begin_ms for line in weeks) < -62_135_596_800_000
    begin = f"{min(line.begin_ms for line in weeks)} ms"
    assert any(begin in row for row in table(weeks))
    assert begin in {as_json(line)["from"] for line in weeks}
    plot(weeks, tmp_path / "weeks.svg", "loans")
    assert (tmp_path / "weeks.svg").exists()
