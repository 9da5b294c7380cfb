"""One datum at a time: whole, of an older version where that is asked for, or refused."""

import pytest

from streams.avro.encode import encode_one
from streams.avro.json_values import load
from streams.avro.read import Reader

OLD = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}'
NEW = (
    '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"},'
    ' {"name": "b", "type": ["null", "long"], "default": null}, {"name": "c", "type": "long", "default": 7}]}'
)


def test_an_older_record_has_the_defaults_of_what_it_lacks() -> None:
    """Compacted topics keep records of every version that ever wrote there."""
    reader = Reader(NEW, older=True)
    assert {"a": 300, "b": None, "c": 7} == reader.read(encode_one(load(OLD), {"a": 300}))
    assert {"a": 300, "b": 5, "c": 6} == reader.read(b"frame" + encode_one(load(NEW), {"a": 300, "b": 5, "c": 6}), 5)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("datum", [b"", b"\x80", b"\x02\x00\x02\x00"])
def test_what_is_no_record_is_refused(datum: bytes, older: bool) -> None:
    """Nothing, a number that does not end, and a byte left over."""
    with pytest.raises(ValueError, match=r"not a record|left over"):
        Reader(NEW, older=older).read(datum)


@pytest.mark.parametrize("cut", [1, 2])
def test_a_record_that_was_cut_short_is_refused(cut: int) -> None:
    """It would read as one of an older version, whose fields end there: whoever judges a record does not ask for that."""
    whole = encode_one(load(NEW), {"a": 300, "b": None, "c": 7})
    with pytest.raises(ValueError, match="not a record"):
        Reader(NEW).read(whole[:-cut])
