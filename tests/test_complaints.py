"""Faults of a settings file, in words."""

import tomllib

import pytest
from pydantic import ValidationError

from streams.complaints import complaints
from streams.config import Settings
from tests.test_config import WHOLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("[[requests]]", "[[requests]]\npartions = 4"),
            ["[requests.0.partions] is not known; did you mean `partitions`?"],
        ),
        (("[[requests]]", '[[requests]]\npartitions = "four"'), ["[requests.0.partitions] is not a whole number"]),
        (("[model]", "[modell]"), ["[model] is missing", "[modell] is not known; did you mean `model`?"]),
        (('name = "late"', "name = 5"), ["[model.name] is not a text; put it in quotes"]),
        (
            ("[app]", "[app]\nzzz = 1"),
            ["[app.zzz] is not known; there are id, state_dir"],
        ),
        (('id = "loans"', 'id = "Loans"'), ["[app.id] does not match ^[a-z0-9][a-z0-9._-]{0,63}$"]),
        (("[kafka]", '[kafka]\nacks = "1"'), ["[kafka] `acks` is not yours to set: an answer counts only when all in-sync replicas have it"]),
        (("[app]", "[app]\nint = 3"), ["[app.int] is not known; there are id, state_dir"]),
        (("[kafka]", '[kafka]\n"stats_cb" = "f"'), ["[kafka] `stats_cb` is not yours to set: it is an object of the client's, which a file cannot hold"]),
        (("[[requests]]", "[requests]"), ["[requests] is not a list of tables: write [[requests]] above each of them"]),
        (("[kafka]", '[kafka]\n"debug" = ["a"]'), ["[kafka.debug] is neither a text, nor a number, nor true or false"]),
        (('[app]\nid = "loans"\nstate_dir = "state"', 'app = "loans"'), ["[app] is not a table of keys and values"]),
        (("[[requests]]", "[[requests]]\npartitions = 0"), ["[requests.0.partitions] should be greater than or equal to 1"]),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_that_says_what_is_meant(change: tuple[str, str], said: list[str]) -> None:
    """The place, what is wrong, and the nearest key; nothing that merely follows from it, and no programmer's words."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(tomllib.loads(WHOLE.replace(*change)))
    assert said == complaints(refused.value, Settings)


def test_no_lane_at_all_is_said() -> None:
    """A list that is empty of itself is a fault of its own."""
    tree = tomllib.loads(WHOLE)
    tree["requests"] = []
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(tree)
    (said,) = complaints(refused.value, Settings)
    assert said.startswith("[requests] ")
