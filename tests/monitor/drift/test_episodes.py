"""Episodes: opened by evidence, closed by calm, and a function of the final windows alone."""

import numpy as np
import pytest

from streams.monitor.drift.episodes import CLOSE_AFTER, Chain, Loss, Memo, Window, chains, losses
from streams.monitor.drift.judging import judge
from streams.monitor.drift.risk import factors
from streams.monitor.drift.watch import Watch
from streams.records import Ints
from tests.monitor.drift.known import category, detector, drawn, shares, watch, windows

MEAN = 1_000.0


def world(seed: int, *shifts: float, n: int = 3_000) -> tuple[Watch, list[Window]]:
    """Return a feature with twenty calm blocks, and a window a shift."""
    chance = np.random.default_rng(seed)
    found = watch(drawn(chance, shares(chance.normal(0, 0.05, 20)), n))
    return found, windows(drawn(chance, shares(np.array(shifts)), n), first=100)


def chain(found: Watch, of: list[Window], memo: Memo | None = None) -> Chain:
    return chains([found], of, MEAN, memo)[0]


def test_an_episode_opens_closes_and_another_opens(seed: int) -> None:
    """Ten calm windows, five far away, six calm ones: opened with the first, closed with the third calm one; then again."""
    found, of = world(seed, *[0.0] * 10, *[2.0] * 5, *[0.0] * 6, *[2.0] * 3)
    told = chain(found, of)
    assert [(110, 110, 117), (121, 121, None)] == [(e.first_seen, e.opened, e.closed) for e in told.episodes]
    first, second = told.episodes
    assert [*range(110, 118)] == [step.window for step in first.steps]
    assert [121, 122, 123] == [step.window for step in second.steps]
    assert second is told.open
    assert CLOSE_AFTER == sum(step.calm for step in first.steps)
    assert first.opening.evidence >= told.threshold
    assert told.steps[18].evidence < 2, "the detector began again from 0"
    assert [False, True, True, False, False, True] == [told.open_at(w) for w in (109, 110, 116, 117, 120, 121)]


def test_a_calm_window_in_between_closes_nothing(seed: int) -> None:
    """Three in a row are needed."""
    found, of = world(seed, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0)
    assert [(101, None)] == [(each.opened, each.closed) for each in chain(found, of).episodes]


def test_the_evidence_is_that_of_the_detectors(seed: int) -> None:
    """The weighted mean of one a step and statistic."""
    found, of = world(seed, *np.random.default_rng(seed).normal(0, 0.2, 15).tolist(), n=500)
    expected = 0.0
    judged = [judge(found, window.counts, window.sums) for window in of]
    for at, statistic in enumerate(found.tested):
        assert statistic.ladder is not None
        for step, weight in enumerate(statistic.ladder.weights.tolist()):
            values = list(detector(float(each.parts[at].e[step]) for each in judged))
            expected += weight / len(found.tested) * values[-1]
    told = chain(found, of)
    assert not told.episodes or told.episodes[0].opened == 114
    assert told.steps[-1].evidence == pytest.approx(expected)


def test_order_and_revisions_leave_no_trace(seed: int) -> None:
    """Windows that come in any order, and are revised many times with a memo, have the chain of the final windows in order."""
    chance = np.random.default_rng(seed)
    found, final = world(seed, *chance.choice([0.0, 0.3, 1.0], 25).tolist())
    expected = chain(found, final)
    memo: Memo = {}
    state: dict[int, Window] = {}
    pieces = [(at, part) for at, window in enumerate(final) for part in split(chance, window.counts)]
    for piece in chance.permutation(len(pieces)).tolist():
        at, part = pieces[piece]
        before = state.get(at, final[at]._replace(counts=np.zeros_like(part)))
        state[at] = before._replace(counts=before.counts + part)
        revised = chain(found, [state[key] for key in chance.permutation([*state]).tolist()], memo)
        assert len(memo) <= len(state)
    assert same(expected, revised)
    assert same(expected, chain(found, final[::-1]))


def split(chance: np.random.Generator, counts: Ints) -> list[Ints]:
    """Return parts whose sum is the counts."""
    first = chance.binomial(counts, 0.5)
    return [first, counts - first]


def same(one: Chain, other: Chain) -> bool:
    """Return whether two chains are equal but for the arrays in them, whose evidence is."""
    told = [[step[:6] for step in each.steps] + [episode[:3] for episode in each.episodes] for each in (one, other)]
    return told[0] == told[1]


def test_a_revision_judges_only_what_it_touches(seed: int) -> None:
    """What the memo holds of other windows is taken as it is, and what nobody asks for any more is forgotten."""
    found, of = world(seed, *[0.0] * 8)
    memo: Memo = {}
    chain(found, of, memo)
    before = dict(memo)
    of[3] = of[3]._replace(counts=of[4].counts + 1)
    told = chain(found, of, memo)
    assert 7 == sum(memo[key] is before[key] for key in memo.keys() & before.keys())
    assert 8 == len(memo)
    assert told.steps[2].judged is before[(found.name, of[2].counts.tobytes(), of[2].sums.tobytes())]


def test_too_few_records_go_into_the_next_window(seed: int) -> None:
    """Until there are enough; the windows are in the path, without a statistic."""
    found, of = world(seed, *[2.0] * 10, n=60)
    told = chain(found, of)
    assert [60, 120] * 5 == [step.n for step in told.steps]
    assert [True, False] * 5 == [step.statistic is None for step in told.steps]
    assert 120 == judge(found, of[0].counts + of[1].counts).n
    opened = told.episodes[0]
    assert 100 == opened.first_seen, "records of the first window were in the first judgement"
    assert opened.newest is told.steps[-1]
    assert () == chain(found, of[:1]).episodes
    assert () == chain(found, []).steps


def test_what_is_not_tested_is_shown_and_opens_nothing() -> None:
    """A reference of one block."""
    chance = np.random.default_rng(1)
    found = watch(drawn(chance, shares(np.zeros(1)), 1_000))
    told = chain(found, windows(drawn(chance, shares(np.full(20, 3.0)), 1_000)))
    assert ((), None) == (told.episodes, told.open)
    assert all(step.statistic is not None and step.evidence == 0 for step in told.steps)


def test_a_new_category_among_ten_thousand(seed: int) -> None:
    """Without drift nothing opens, though most categories are rarer than one in a window; a tenth that is unseen opens at once."""
    chance = np.random.default_rng(seed)
    law = np.zeros(10_002)
    law[1:-1] = chance.pareto(1.0, 10_000) + 0.01
    law /= law.sum()
    found = watch(drawn(chance, np.tile(law, (8, 1)), 5_000), None, category(10_000))
    calm = drawn(chance, np.tile(law, (30, 1)), 2_000)
    moved = calm[:2].copy()
    moved[:, -1] += 200
    told = chain(found, windows(np.concatenate([calm, moved])))
    assert [30] == [each.opened for each in told.episodes]
    opening = told.episodes[0].opening.judged
    assert opening is not None
    assert opening.leading is not None
    assert "unseen" == opening.leading.name


def test_more_features_need_more_evidence(seed: int) -> None:
    """So that the model has one false ticket in so many windows; features that are not tested do not count."""
    found, of = world(seed, 0.0)
    untested = watch(found.counts[:1])
    assert [3_000.0] * 4 == [each.threshold for each in chains([found, found, found, untested], of, MEAN)]


def test_a_risk_is_one_observation_a_window() -> None:
    """The evidence is that of the bets; it closes after three windows at or below what is allowed, and empty ones say nothing."""
    risks = [0.1] * 5 + [0.5] * 8 + [0.12, 0.1, 0.12] + [0.1] * 2
    of = [Loss(at, 1_000, loss) for at, loss in enumerate(risks)]
    told = losses("error_rate", [*of[::-1], Loss(99, 0, 1.0)], 0.12, 100.0)
    (episode,) = told.episodes
    assert (5, 15) == (episode.first_seen, episode.closed)
    assert 5 < episode.opened < 13
    assert list(detector(factors(risks, 0.12)))[:15] == pytest.approx([step.evidence for step in told.steps][:15])
    assert (0.12, 0.12, 100.0) == (episode.newest.statistic, episode.newest.tolerance, told.threshold)
    assert 18 == len(told.steps)
    assert told.steps[-1].evidence < 3, "it began again from 0"
