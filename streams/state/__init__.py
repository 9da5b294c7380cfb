"""The keyed store of a partition: one contract, a memory twin and a RocksDB twin."""
