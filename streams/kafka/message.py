"""What the client hands over of one record, where its own accessors are not enough."""

from collections.abc import Sequence
from operator import methodcaller

from confluent_kafka import Message

from streams.headers import UNREADABLE
from streams.records import Headers

_ask = methodcaller("headers")
"""The client's accessor returns its unfinished list *and* leaves an exception set. A call from C notices that; bytecode
that has run often enough to be specialised (CPython 3.11 and later) does not, and the exception surfaces anywhere."""


def headers_of(messages: "Sequence[Message[bytes, bytes]]") -> list[Headers | None]:
    """Return each record's headers, or UNREADABLE where the client cannot.

    On the wire a header's name is bytes; the client decodes it as UTF-8, and anyone who may produce can send one that is
    none. Such an error ends `extend` behind what it has, and the next one goes on there: no message may be asked a second
    time, since it keeps the list that it did not finish.
    """
    found: list[Headers | None] = []
    asked = map(_ask, messages)
    while len(found) < len(messages):
        try:
            found.extend(asked)
        except (SystemError, UnicodeDecodeError):
            found.append(UNREADABLE)
    return found
