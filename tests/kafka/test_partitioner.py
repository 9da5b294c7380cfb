"""murmur2 for many keys in step says what the client's own code says of each."""

import confluent_kafka
from hypothesis import example, given
from hypothesis import strategies as st

from streams.kafka.partitioner import SHORT, partitions_of

KEYS = st.lists(st.binary(max_size=2 * SHORT), max_size=40)


@given(KEYS, st.integers(1, 1_000))
@example([bytes(size) for size in range(2 * SHORT)], 7)
@example([b"\xff" * size for size in range(2 * SHORT)], 2**31 - 1)
@example([b"one", b"x" * 100_000], 12)
def test_every_key_goes_where_the_client_sends_it(keys: list[bytes], partitions: int) -> None:
    """Empty, short, with a rest of one to three bytes, long: in one list, or alone."""
    wanted = [confluent_kafka.murmur2(key, partitions) for key in keys]
    assert wanted == partitions_of(keys, partitions).tolist()
    assert wanted == [partition for key in keys for partition in partitions_of([key], partitions).tolist()]
