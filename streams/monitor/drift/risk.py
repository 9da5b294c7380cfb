"""Whether the model's labelled risk has become worse than it may be: a bet on each block of time, one after the other. Room: pure.

The risk of a block is a mean loss between 0 and 1: the share of wrong picks, the Brier score. Records of one block share its weather,
so a block is one observation, however many records it has. Against "the mean risk is at most so much" a gambler bets a share of what
she has on each block's excess; what she has is at most 1 in the mean while it is so (Waudby-Smith and Ramdas 2024, JRSS B 86, 1-27;
of a model's risk Podkopaev and Ramdas, "Tracking the risk of a deployed machine learning model", ICLR 2022). As with drift, the
factors are the e-values of a detector.
"""

from collections.abc import Iterable, Iterator

LARGEST, SMALLEST = 0.5, 0.1
"""The bounds of a bet, as shares of the largest that cannot ruin her. The smallest makes her lose while the risk is below what is
allowed, so that a detector, which gives her a coin each block, does not fill up by itself."""
FORGETS = 0.2
"""The weight of the newest block in the mean that a bet goes by: a good year must not hide a bad month."""
VARIANCE = 0.01
"""What blocks are taken to vary by before any was seen."""


def factors(risks: Iterable[float], allowed: float) -> Iterator[float]:
    """Yield, for each block, what the bet on it multiplies by: 1 + bet · (risk - allowed), above 0.

    The bet is chosen before the block is seen: it grows with how much the last blocks were too risky, and shrinks with how much they
    varied. A block is one number; their order is that of event time.

    Args:
        risks: mean losses of the blocks, from 0 to 1.
        allowed: the largest mean risk that is no deterioration, above 0 and below 1.
    Raises: ValueError for a risk or an allowance that is none.
    """
    if not 0.0 < allowed < 1.0:
        raise ValueError(f"{allowed} is no risk that can be allowed: above 0, below 1")
    excess, variance = 0.0, VARIANCE
    for risk in risks:
        if not 0.0 <= risk <= 1.0:
            raise ValueError(f"{risk} is no risk: 0 to 1")
        bet = min(max(excess / (variance + excess * excess), SMALLEST / allowed), LARGEST / allowed)
        yield 1.0 + bet * (risk - allowed)
        surprise = risk - allowed - excess
        excess += FORGETS * surprise
        variance += FORGETS * (surprise * surprise - variance)
