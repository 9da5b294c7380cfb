"""Print every answer: predictions, refusals, dead letters. Ctrl-C ends it; the next start goes on where it ended.

    python consume.py

Nothing in here is answeronce's: any consumer does it like this. One setting matters: `read_committed`, or it sees what
was never committed. An offset is stored when its answer was printed, so that none is missed, whatever ends this.
"""

from clients import settings
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPICS = ["$app.results", "$app.outcomes", "$app.requests.live.dlq"]


def told(message):
    """Return a line for people: what became of a request, and why."""
    if message.topic().endswith(".dlq"):
        return f"DEAD LETTER {message.key()} {dict(message.headers())['__dlq.errors.message'].decode()}"
    answer = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
    said = answer.get("sentence") or prediction(answer)
    return f"{answer.get('kind', 'SCORED')} {answer['request_id'] or answer['request_topic']} {said}"


def prediction(answer):
    """Return the label, if there is one, and the probability, those of all classes, or the number that was predicted."""
    numbers = answer["scores"] or [one for one in (answer["score"], answer["value"]) if one is not None]
    return ", ".join([*filter(None, [answer["label"]]), *(f"{number:.3f}" for number in numbers)])


decode = AvroDeserializer(SchemaRegistryClient(settings("schema_registry") | {"timeout": 10}))
consumer = Consumer(
    settings("kafka")
    | {
        "group.id": "$app.by-hand",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,
    }
)
consumer.subscribe(TOPICS, on_assign=lambda *_: print("Waiting for answers.", flush=True))
try:
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error():
            print(message.error().str(), flush=True)
        elif message is not None:
            print(told(message), flush=True)
            consumer.store_offsets(message)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()  # leaves the group, so that the next start need not wait until this one is missed
