"""Which records cannot be answered, though nothing is wrong with them that reading could see."""

from streams.reasons import Reason
from streams.records import TP, Detail, Step


class Refusals(dict[tuple[TP, int], tuple[Reason, Detail]]):
    """By topic-partition and offset, until what says so is committed: a fold's memory between two tries."""

    def add(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Refuse this record from now on; False if it was refused before."""
        if (at, offset) in self:
            return False
        self[at, offset] = reason, detail
        return True

    def committed(self, step: Step) -> None:
        """Forget those that the step has answered."""
        for at, offset in [one for one in self if one[1] < step.next.get(one[0], 0)]:
            del self[at, offset]
