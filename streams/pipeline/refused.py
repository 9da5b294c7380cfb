"""Which records cannot be answered, though nothing is wrong with them that reading could see."""

from streams.reasons import Reason
from streams.records import TP, Detail, Step


class Refused(dict[tuple[TP, int], tuple[Reason, Detail]]):
    """By topic-partition and offset, until what says so is committed: a fold's memory between two tries."""

    def add(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Refuse this record from now on; False if it was refused before."""
        if (at, offset) in self:
            return False
        self[at, offset] = reason, detail
        return True

    def why(self, at: TP, offset: int, found: Reason) -> tuple[Reason, Detail] | None:
        """Return why this record is refused, if it is; None where what was found wrong with it says more."""
        said = self.get((at, offset))
        return None if said and said[0] is Reason.POISON_PILL and found is not Reason.NONE else said

    def committed(self, step: Step) -> None:
        """Forget those that the step has answered."""
        for at, offset in [one for one in self if one[1] < step.next.get(one[0], 0)]:
            del self[at, offset]
