"""Evidence over time: when so many windows, one after the other, were too far away that a ticket is due. Room: pure.

Each window's p-value becomes an e-value, whose mean is at most 1 while nothing is wrong (Vovk and Wang 2021, Annals of Statistics
49, 1736-1754), and a Shiryaev-Roberts detector adds them up (Shin, Ramdas and Rinaldo, "E-detectors", arXiv 2203.03532): the mean
number of windows until a false ticket is at least the threshold, if each window's e-value has a mean of at most 1 given those
before it. A reference that all windows share breaks that condition a little; the tolerance makes up for it (measured in
`tests/monitor/drift`, not proven).
"""

import math

E_MAX = 1e6
"""An e-value is capped: a p-value of 0 is a matter of floating point, and the cap only makes a ticket later."""
_NEAR_ONE = 1e-4


def e_value(p: float) -> float:
    """Return (1 - p + p ln p) / (p ln² p): the mean over all k of the calibrators k p^(k - 1). 0.5 at p = 1.

    Raises: ValueError if p is no probability.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{p} is no probability")
    if p == 0.0:
        return E_MAX
    if 1.0 - p < _NEAR_ONE:  # both parts of the quotient vanish there; its series
        return 0.5 + (1.0 - p) / 6.0
    log = math.log(p)
    return min((1.0 - p + p * log) / (p * log * log), E_MAX)


def threshold(mean_windows: float, features: int) -> float:
    """Return from which evidence on a ticket is due, so that with so many features, whatever they have to do with each other,
    the mean number of windows until any false ticket is at least `mean_windows`.
    """
    return mean_windows * features
