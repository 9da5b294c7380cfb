"""Whether an ONNX model keeps data in other files, found in its bytes alone. Pure.

A tensor may name a file in place of its data, and a package would then be more than what was hashed and checked: the
path could be any that the worker may read. onnxruntime opens such files while it loads, so they are looked for first.

Only the messages on the way to tensors are walked (onnx.proto, IR version 3 to 13; `tests/models` compares them with
the `onnx` package); everything else is skipped by its length. Wire format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

INSIDE: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}  # fmt: skip
"""Of each message, the fields that hold messages on the way to a tensor."""
EXTERNAL = {13, 14}
"""A tensor's fields `external_data` and `data_location`; an exporter writes them only where they say something."""


def has_external_data(model: bytes) -> bool:
    """Return whether any tensor of a ModelProto lies elsewhere. Raises: ValueError if the bytes are no protobuf."""
    waiting = [("ModelProto", memoryview(model))]
    while waiting:
        kind, message = waiting.pop()
        for field, value in _fields(message):
            if kind == "TensorProto" and field in EXTERNAL and value not in (0, b""):
                return True
            inner = INSIDE[kind].get(field)
            if inner is not None:
                if isinstance(value, int):
                    raise ValueError(f"field {field} of a {kind} is no message")
                waiting.append((inner, value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field; what is not a varint or of a length of its own is passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if not 8 <= key < 1 << 32:
            raise ValueError(f"no field has the key {key}")
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
            case 2:
                length, at = _varint(message, at)
                if length > len(message) - at:
                    raise ValueError("it was cut off")
                yield key >> 3, message[at : at + length]
                at += length
            case 1 | 5 as fixed:
                at += 8 if fixed == 1 else 4
            case other:
                raise ValueError(f"there is no wire type {other}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the varint at a position, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it was cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a varint has more than ten bytes")
