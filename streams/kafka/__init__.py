"""The edge that speaks to Kafka and returns values; the only room that knows confluent_kafka."""


def client_version() -> str:
    """Return the versions of the Kafka client and its C library."""
    import confluent_kafka

    return f"confluent-kafka {confluent_kafka.version()}, librdkafka {confluent_kafka.libversion()[0]}"
