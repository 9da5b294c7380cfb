"""The picture: drawn from what is told, the same bytes every time, and refused where it cannot be."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streams.errors import ConfigError, SetupError
from streams.models.manifest import Feature
from streams.monitor.drift.episodes import Chain, Loss, chains, losses
from streams.monitor.drift.telling import Line
from streams.monitor.drift.watch import watches
from streams.monitor.merging import merged
from streams.monitor.state import Subject
from streams.monitor.telling import told
from streams.plotting import CALM, DOWN, GREY, ROWS_MAX, UNSIGNED, UP, plot
from tests.monitor.drift.known import EDGES, category, drawn, histogram, reference, shares, windows
from tests.monitor.stream import HOUR_MS, RULES, run
from tests.monitor.test_telling import LABELLED

LINES = told(merged(run(LABELLED).decoded(), RULES), RULES, 1, 30 * HOUR_MS, None)
SUBJECT = Subject("m", "1", None)
MOVED = [(-1.5, 0.0), (1.5, 0.0), (0.0, 0.4)]
"""Shifts, and shares of what is missing, that are far from what is usual."""
OUTLINE = "stroke: #000000; stroke-width: 1.2"


def features(seed: int, shifts: Sequence[float], missing: float = 0.0, names: Sequence[str] = ("x",)) -> list[Line]:
    """Return what is told of numbers that moved so, in hours of 2,000 records, after a training set of 20 calm ones."""
    chance = np.random.default_rng(seed)
    trained = histogram(drawn(chance, shares(np.zeros(20)), 3_000))
    numbers = [Feature(name=name, kind="number") for name in names]
    watched = watches(numbers, reference([trained.model_copy(update={"name": name}) for name in names]))
    seen = drawn(chance, shares(np.array(shifts), missing=missing), 2_000)
    found = chains(watched, windows(np.tile(seen, len(names)), first=2), 1_000)
    return [Line(SUBJECT, HOUR_MS, chain, watch) for chain, watch in zip(found, watched, strict=True)]


def drawing(tmp_path: Path, drift: Sequence[Line]) -> str:
    """Return the picture."""
    plot(LINES, tmp_path / "picture.svg", "loans", drift)
    return (tmp_path / "picture.svg").read_text()


def cells(text: str) -> list[str]:
    """Return the colours of the rows' cells, row after row."""
    return re.findall(r'"fill: (#[0-9a-f]{6}); stroke: #[0-9a-f]{6}; stroke-width: 0.3"', text)


def test_a_picture_is_the_same_every_time(tmp_path: Path, seed: int) -> None:
    """With a line a version, and the names of what is drawn; with rows of drift, too."""
    for drift in ([], features(seed, [0.0, 1.5, 1.5])):
        one, other = tmp_path / "one.svg", tmp_path / "other.svg"
        for path in (one, other):
            plot(LINES, path, "loans", drift)
        text = one.read_text()
        assert text == other.read_text()
        for word in ("AUC", "accuracy", "predictions", "loans", "m 1", "m 2"):
            assert f"<!-- {word} -->" in text
        assert len(re.findall("<dc:date>", text)) == 0


def test_what_is_not_mature_is_hollow(tmp_path: Path) -> None:
    """One hour later the labels of all spans must be there; before that, of some."""
    early = told(merged(run(LABELLED).decoded(), RULES), RULES, 1, 26 * HOUR_MS, None)
    assert {line.report.mature for line in early} == {0.0, 1.0}
    plot(early, tmp_path / "early.svg", "loans")
    plot(LINES, tmp_path / "late.svg", "loans")
    hollow = [(tmp_path / name).read_text().count("fill: #ffffff; stroke:") for name in ("early.svg", "late.svg")]
    assert hollow[0] > hollow[1]


def test_a_cell_says_where_the_values_have_moved_and_how_far(tmp_path: Path, seed: int) -> None:
    """Down and up in full colours, what is missing in that of no direction, and nearly white what is as usual."""
    (down, calm), (up, also_calm), missing = (
        cells(drawing(tmp_path, features(seed, [shift, 0.0], missing))) for shift, missing in MOVED
    )
    assert [DOWN, UP, [UNSIGNED, UNSIGNED]] == [down, up, missing]
    (slight, as_usual) = cells(drawing(tmp_path, features(seed, [0.25, 0.0])))
    assert min(channel for cell in (calm, also_calm, as_usual) for channel in channels(cell)) > 0xE0
    red, green, blue = channels(slight)
    assert 0xD5 < red < 0xF0, "between the two, and so are the others"
    assert 0x5E < green < 0xF0
    assert 0x00 < blue < 0xF0


def channels(cell: str) -> tuple[int, int, int]:
    """Return a colour's red, green and blue."""
    return int(cell[1:3], 16), int(cell[3:5], 16), int(cell[5:7], 16)


def test_a_category_has_no_direction(tmp_path: Path) -> None:
    """Its cells have no order."""
    trained = np.array([[0, 500, 500, 0]] * 8)
    watched = watches([category(2)], reference([histogram(trained, None)]))
    (chain,) = chains(watched, windows(np.array([[0, 50, 950, 0], [0, 500, 500, 0]])), 1_000)
    assert [UNSIGNED, CALM] == cells(drawing(tmp_path, [Line(SUBJECT, HOUR_MS, chain, watched[0])]))


def test_what_was_not_judged_is_blank_and_what_is_not_tested_grey(tmp_path: Path, seed: int) -> None:
    """Windows of too few records, and a feature whose reference has too few blocks."""
    chance = np.random.default_rng(seed)
    (line,) = features(seed, [0.0] * 3)
    assert line.watch is not None
    few = drawn(chance, shares(np.zeros(3)), 2_000)
    few[1] = 0
    carried = chains([line.watch], windows(few), 1_000)
    assert [CALM, CALM] == cells(drawing(tmp_path, [line._replace(chain=carried[0])]))
    assert f"fill: {GREY}" not in drawing(tmp_path, [line])

    untested = watches([Feature(name="y", kind="number")], reference([histogram(few[:1].repeat(3, 0), EDGES, "y")]))
    (chain,) = chains(untested, windows(few), 1_000)
    text = drawing(tmp_path, [Line(SUBJECT, HOUR_MS, chain, untested[0])])
    assert [] == cells(text)
    assert f"fill: {GREY}" in text


def test_tickets_are_outlined_and_those_of_a_risk_lie_on_the_top_axis(tmp_path: Path, seed: int) -> None:
    """From the window that opened one to the one that closed it, or to the newest."""
    moved = features(seed, [0.0] * 2 + [1.5] * 8 + [0.0] * 6 + [1.5] * 8)
    assert [False, True] == [one.closed is None for one in moved[0].chain.episodes]
    assert (2, 1) == (
        drawing(tmp_path, moved).count(OUTLINE) - 1,
        drawing(tmp_path, features(seed, [0.0])).count(OUTLINE),
    ), "one is the legend's"
    allowed, worse = 0.1, [Loss(at, 500, 0.9) for at in range(2, 20)]
    risks = [losses("error_rate", worse[:many], allowed, 100) for many in (1, 18)]
    assert [False, True] == [bool(one.episodes) for one in risks]
    texts = [drawing(tmp_path, [Line(SUBJECT, HOUR_MS, one, None)]) for one in risks]
    assert [False, True] == ["<!-- m 1: ticket, error_rate -->" in text for text in texts]


def test_of_too_many_features_those_that_moved_most_are_drawn(tmp_path: Path, seed: int) -> None:
    """In the model's own order, and the picture says how many there are; names are cut off."""
    calm = features(seed, [0.0], names=[f"calm_{at}" for at in range(ROWS_MAX + 5)])
    moved = features(seed, [1.5], names=["moved", "m" * 80])
    text = drawing(tmp_path, [*calm, *moved])
    assert f"the {ROWS_MAX} of {ROWS_MAX + 7} features that moved most" in text
    assert ROWS_MAX == len(cells(text))
    assert [UP, UP] == cells(text)[-2:]
    assert f"<!-- {'m' * 23}… -->" in text
    assert f"<!-- {'m' * 24} -->" not in text


def test_without_drift_there_are_no_rows(tmp_path: Path) -> None:
    """No reference, or only a risk: no row, and nothing that says what its colours mean."""
    chain: Chain = losses("error_rate", [Loss(2, 500, 0.1)], 0.2, 100)
    for drift in ([], [Line(SUBJECT, HOUR_MS, chain, None)]):
        text = drawing(tmp_path, drift)
        assert [] == cells(text)
        assert "lower values" not in text
    assert "lower values" in drawing(tmp_path, features(1, [0.0]))


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigError, match=r"one of \.svg, \.png, \.pdf"):
        plot(LINES, tmp_path / "one.gif", "loans")
    with pytest.raises(SetupError, match="there is no folder"):
        plot(LINES, tmp_path / "nowhere" / "one.png", "loans")
