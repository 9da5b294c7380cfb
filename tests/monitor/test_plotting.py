"""The picture: drawn from what is told, the same bytes every time, and refused where it cannot be."""

import re
from pathlib import Path

import pytest

from streams.errors import ConfigError, SetupError
from streams.monitor.merging import merged
from streams.monitor.telling import told
from streams.plotting import plot
from tests.monitor.stream import HOUR_MS, RULES, run
from tests.monitor.test_telling import LABELLED

LINES = told(merged(run(LABELLED).decoded()), RULES, 1, 30 * HOUR_MS, None)


def test_a_picture_is_the_same_every_time(tmp_path: Path) -> None:
    """With a line a version, and the names of what is drawn."""
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    for path in (one, other):
        plot(LINES, path, "loans")
    text = one.read_text()
    assert text == other.read_text()
    for word in ("AUC", "accuracy", "predictions", "loans", "m 1", "m 2"):
        assert f"<!-- {word} -->" in text
    assert len(re.findall("<dc:date>", text)) == 0


def test_what_is_not_mature_is_hollow(tmp_path: Path) -> None:
    """One hour later the labels of all spans must be there; before that, of some."""
    early = told(merged(run(LABELLED).decoded()), RULES, 1, 26 * HOUR_MS, None)
    assert {line.report.mature for line in early} == {0.0, 1.0}
    plot(early, tmp_path / "early.svg", "loans")
    plot(LINES, tmp_path / "late.svg", "loans")
    hollow = [(tmp_path / name).read_text().count("fill: #ffffff; stroke:") for name in ("early.svg", "late.svg")]
    assert hollow[0] > hollow[1]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigError, match=r"one of \.svg, \.png, \.pdf"):
        plot(LINES, tmp_path / "one.gif", "loans")
    with pytest.raises(SetupError, match="there is no folder"):
        plot(LINES, tmp_path / "nowhere" / "one.png", "loans")
