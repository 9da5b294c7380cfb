"""Small ONNX graphs: a linear model over the two features of `small_packages`, and what can be wrong with one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from streams.records import Floats

WEIGHTS = np.array([[0.3, -0.2, 0.1], [0.05, 0.01, -0.04]], np.float32)
BIAS = np.array([-1.0, 0.5, 0.25], np.float32)
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def logits(matrix: Floats) -> Floats:
    """Return what the linear model says in float64: shape (rows, 3); a missing feature counts as 0."""
    return np.nan_to_num(matrix) @ WEIGHTS.astype(np.float64) + BIAS.astype(np.float64)


def linear(
    *last: Any,
    width: int = 1,
    type_: int = FLOAT,
    columns: int | str | None = 2,
    batch: int | str | None = "batch",
    outputs: Sequence[Any] | None = None,
    inputs: Sequence[Any] = (),
) -> bytes:
    """Return a model: missing values as 0, weights and bias of the first `width` outputs, then the `last` nodes.

    The nodes read `logits`, shape (batch, width). Without any, a sigmoid gives `y`.
    """
    kind = helper.tensor_dtype_to_np_dtype(type_)
    weights = np.resize(WEIGHTS[:, :width], (columns if isinstance(columns, int) else 2, width))
    constants = {"zero": np.zeros(1), "weights": weights, "bias": BIAS[:width]}
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "x"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        *(last or [helper.make_node("Sigmoid", ["logits"], ["y"])]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [value("x", type_, [batch, columns]), *inputs],
        list(outputs or [value("y", type_, [batch, width])]),
        [numpy_helper.from_array(np.ascontiguousarray(each, kind), name) for name, each in constants.items()],
    )
    return serialized(graph)


def value(name: str, type_: int, shape: Sequence[int | str | None] | None) -> Any:
    """Return an input or output."""
    return helper.make_tensor_value_info(name, type_, shape)


def node(kind: str, taken: str, given: str, **attributes: Any) -> Any:
    """Return a node of one input and one output."""
    return helper.make_node(kind, taken.split(), [given], **attributes)


def serialized(graph: Any, *functions: Any) -> bytes:
    """Return a model's bytes, of versions that all supported runtimes read."""
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("test", 1)]
    model: ModelProto = helper.make_model(graph, opset_imports=domains, ir_version=8, functions=functions)
    content: bytes = model.SerializeToString()
    return content


def external(name: str = "elsewhere", location: str = "../secret") -> Any:
    """Return a tensor whose data lies in another file."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor
