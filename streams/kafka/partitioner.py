"""Which partition a key belongs to: murmur2, as Java's default partitioner and `murmur2_random` have it."""

import confluent_kafka


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among `partitions`.

    librdkafka's own default is CRC32: the two agree on about one key in four of four partitions.
    """
    return confluent_kafka.murmur2(key, partitions)
