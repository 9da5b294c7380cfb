"""Lines and exit codes."""

from streams.doctor.findings import Finding, exit_code


def test_the_first_failure_decides_and_nothing_else_counts() -> None:
    """Warnings, and what was skipped because of a failure, do not."""
    fine = [Finding("ok", "a", ""), Finding("warn", "b", ""), Finding("skipped", "c", "")]
    assert 0 == exit_code(fine)
    assert 8 == exit_code([*fine, Finding("FAIL", "d", "", 8), Finding("FAIL", "e", "", 4)])


def test_a_finding_is_one_line() -> None:
    """Errors of several lines are joined."""
    assert "FAIL    broker         one two" == str(Finding("FAIL", "broker", "one\n  two", 8))
