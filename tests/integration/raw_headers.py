"""Produce one record with header names that are no text: the Python client cannot, so its own C library is called."""

import ctypes
from pathlib import Path

import confluent_kafka

_V_TOPIC, _V_PARTITION, _V_VALUE, _V_KEY, _V_FLAGS, _V_HEADERS, _COPY = 1, 3, 4, 5, 7, 10, 2


def _library() -> ctypes.CDLL:
    home = Path(confluent_kafka.__file__).parent
    paths = [*home.parent.glob("confluent_kafka.libs/librdkafka*"), *home.glob(".dylibs/librdkafka*")]
    return ctypes.CDLL(str(paths[0]))


def produce(bootstrap: str, topic: str, partition: int, key: bytes, value: bytes, name: bytes) -> None:
    """Produce a record with one header of any name, and wait until the broker has it."""
    lib, error = _library(), ctypes.create_string_buffer(512)
    for function in (lib.rd_kafka_conf_new, lib.rd_kafka_new, lib.rd_kafka_headers_new):
        function.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
    assert 0 == lib.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), error, 512), error.value
    producer = ctypes.c_void_p(lib.rd_kafka_new(0, conf, error, 512))
    headers = ctypes.c_void_p(lib.rd_kafka_headers_new(1))
    lib.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"value", ctypes.c_ssize_t(5))
    wrong = lib.rd_kafka_producev(
        producer,
        *(ctypes.c_int(_V_TOPIC), ctypes.c_char_p(topic.encode())),
        *(ctypes.c_int(_V_PARTITION), ctypes.c_int32(partition)),
        *(ctypes.c_int(_V_VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
        *(ctypes.c_int(_V_KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
        *(ctypes.c_int(_V_FLAGS), ctypes.c_int(_COPY)),
        *(ctypes.c_int(_V_HEADERS), headers),
        ctypes.c_int(0),
    )
    assert (0, 0) == (wrong, lib.rd_kafka_flush(producer, 10_000))
    lib.rd_kafka_destroy(producer)
