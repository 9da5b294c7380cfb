"""Small batches are scored as large ones are."""

from collections.abc import Iterator

import pytest

from streams import scoring


@pytest.fixture(scope="package", autouse=True)
def more_than_one_is_many() -> Iterator[None]:
    """Let "another thread" score all batches but the smallest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "FEW", 2)
        yield
