"""A seed for what is random here: new in every run, printed, and set by ANSWERONCE_SEED to see a failure again."""

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """Return the seed of this run; pytest shows the line with a failure."""
    chosen = int(os.environ.get("ANSWERONCE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"ANSWERONCE_SEED={chosen}")
    return chosen
