"""The edge that speaks to Kafka and returns values; the only room that knows confluent_kafka."""
