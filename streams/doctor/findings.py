"""What was found, as lines for people and an exit code. Pure."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Grade = Literal["ok", "warn", "FAIL", "skipped"]


class Finding(NamedTuple):
    """What was tried, what was measured, and what to do next."""

    grade: Grade
    check: str
    text: str
    code: int = 0
    """What a failure is, as an exit code (`errors.py`)."""

    def __str__(self) -> str:
        return f"{self.grade:8}{self.check:15}{' '.join(self.text.split())}"


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the code of the first failure, or 0: warnings and what was skipped because of a failure do not count."""
    return next((finding.code for finding in findings if finding.grade == "FAIL"), 0)
