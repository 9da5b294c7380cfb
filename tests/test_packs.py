"""Packs of the changelog: bytes that every later version must be able to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.packs import PACK_BYTES, pack, unpack
from streams.records import Put

PUTS = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), min_size=1, max_size=60)
TWO = [(b"dk", b"value"), (b"f", b"")]


def test_pack_bytes() -> None:
    """The format is pinned: format, count, lengths of keys, lengths of values, keys, values; big-endian."""
    head = b"\x01" + b"\x00\x00\x00\x02"
    assert [head + b"\x00\x02\x00\x01" + b"\x00\x00\x00\x05\x00\x00\x00\x00" + b"dkf" + b"value"] == pack(TWO)


@given(PUTS, st.integers(1, 2_000))
def test_what_was_packed_is_unpacked_in_order(puts: list[Put], limit: int) -> None:
    """However small the limit is; only a pack of a single change may be larger."""
    packs = [(value, unpack(value)) for value in pack(puts, limit)]
    assert puts == [put for _, changes in packs for put in changes]
    assert all(len(value) <= limit or len(changes) == 1 for value, changes in packs)


def test_packs_are_as_few_as_fit() -> None:
    """Equal changes fill each pack to the last that fits."""
    puts = [(b"d" * 17, bytes(200))] * 5_000
    sizes = [len(value) for value in pack(puts)]
    assert max(sizes) <= PACK_BYTES
    assert all(size > PACK_BYTES - 223 for size in sizes[:-1])


@given(PUTS, st.data())
def test_a_cut_or_lengthened_pack_is_refused(puts: list[Put], data: st.DataObject) -> None:
    """Its lengths must add up: a part of a pack is never taken for a whole one."""
    (value,) = pack(puts, 1 << 20)
    with pytest.raises(ValueError, match="a changelog record of"):
        unpack(value[: data.draw(st.integers(0, len(value) - 1))])
    with pytest.raises(ValueError, match="a changelog record of"):
        unpack(value + b"\x00")


def test_what_is_no_pack_is_refused() -> None:
    """Other formats say so; nothing is guessed."""
    (good,) = pack(TWO)
    for bad in (b"", b"\x02" + good[1:], b"\x01\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="a changelog record of"):
            unpack(bad)
