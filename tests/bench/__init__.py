"""The common benchmark job: `python -m tests.bench`. It prints; it never judges."""
