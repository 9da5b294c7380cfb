"""Faust's Kafka transport, made to read what is committed only, and to commit when it is told to.

faust/transport/drivers/aiokafka.py (0.15.3, `_create_worker_consumer`) reads uncommitted unless processing_guarantee is
exactly_once: tickets of an aborted transaction would be delivered. There is no setting.
"""

from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT

ISOLATION = "read_committed"


class ReadCommittedThread(driver.AIOKafkaConsumerThread):
    """The thread that the client lives in; its client sees no record of a transaction that is open or aborted."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        client: Any = super()._create_worker_consumer(transport)
        # the client hands it to its fetcher when it starts, which is later
        assert client._isolation_level in ("read_uncommitted", "read_committed"), "the client keeps it elsewhere now"
        client._isolation_level = ISOLATION
        return client


class ReadCommittedConsumer(driver.Consumer):
    """A consumer that commits one record at a time, after it was dealt with.

    Faust's own acknowledgements are off (`acks=False`). They acknowledge what they must not: an event whose agent raised or
    was cancelled (faust/streams.py, the `finally` around `yield`; `stream_ack_exceptions` has no effect any more), and one
    that is skipped because the group rebalances (`skipped_value` there); and transport/consumer.py `_new_offset` compares
    the first acknowledged offset with the next one to read by `> 1`, so one unacknowledged record is passed over.
    """

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Say nothing: Faust takes a topic that nothing is written to for a client that is stuck, and logs errors."""

    def _new_consumer_thread(self) -> ReadCommittedThread:
        return ReadCommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def settle(self, event: EventT[Any]) -> bool:
        """Commit the position after an event, and wait for the answer; return False where the group has rebalanced since.

        Then the record comes again, here or elsewhere.
        """
        message: Any = event.message
        if message.generation_id != self.app.consumer_generation_id:
            return False
        return await self._commit({message.tp: message.offset + 1})


class ReadCommittedTransport(driver.Transport):
    """What the application is given."""

    Consumer = ReadCommittedConsumer
