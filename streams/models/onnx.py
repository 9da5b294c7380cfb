"""ONNX models: what the graph says of itself, and scores from it, on one core.

A graph holds no Python code. Operators are those that onnxruntime brings: no library of others is ever loaded, and
nothing is read but the artifact (see `external_data.py`). A package is trusted as far as whoever registered it.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from streams.errors import ConfigError, SetupError
from streams.models.external_data import has_external_data
from streams.models.manifest import Manifest
from streams.models.scorer import Unscorable
from streams.records import Floats

FLOATS = {"tensor(float)": "float32", "tensor(double)": "float64"}
"""The types of inputs and outputs that are read, as onnxruntime and as NumPy spell them."""
ZIPMAP = "seq(map("
_ANSWERS = {
    "binary": "the positive class's probability, [batch] or [batch, 1], or both classes', [batch, 2]",
    "multiclass": "one probability a class, [batch, {classes}]",
    "regression": "the value, [batch] or [batch, 1]",
}


class Node(Protocol):
    """An input or an output of a session."""

    name: str
    type: str
    shape: Sequence[int | str | None]
    """A symbol or None is a length that is not fixed; nothing at all is a shape that the graph does not say."""


class OnnxGraph:
    """One model, ready to score; by one thread, since a worker process is one core."""

    row_deterministic = False
    """Sums of float32 depend on how a matrix product is cut, and that on the number of its rows."""

    def __init__(self, artifact: bytes, manifest: Manifest) -> None:
        """Load the graph and cross-check it with the manifest.

        Raises: ConfigError where they disagree or the file is no ONNX model; SetupError without onnxruntime.
        """
        where = manifest.artifact
        try:
            external = has_external_data(artifact)
        except ValueError as error:
            raise ConfigError(f"{where} is not an ONNX model: {error}. Save the model again") from None
        if external:
            raise ConfigError(
                f"{where} keeps data in other files, which a package does not follow: save it as one file "
                "(onnx.save_model(…, save_as_external_data=False))"
            )
        library = require()
        self._errors = _errors(library)
        try:
            self._session = library.InferenceSession(artifact, _options(library), providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise ConfigError(f"{where}: onnxruntime cannot load it: {error}") from None
        taken = _input(self._session.get_inputs(), manifest)
        self._input, self._dtype = taken.name, FLOATS[taken.type]
        self.largest = float(np.finfo(self._dtype).max)
        self._output = _output(self._session.get_outputs(), manifest).name
        self._task, self._classes = manifest.task, len(manifest.output.classes)

    def score(self, matrix: Floats) -> Floats:
        """Return what the model says of each row; see `Scorer.score`. Cells are rounded to the input's type."""
        if len(matrix) == 0:
            return np.empty(0, np.float64)
        try:
            (found,) = self._session.run([self._output], {self._input: np.ascontiguousarray(matrix, self._dtype)})
        except self._errors as error:
            raise Unscorable(str(error)) from None
        shape = np.shape(found)
        if shape[:1] != (len(matrix),) or not _fits(shape, self._task, self._classes):
            raise Unscorable(f"output `{self._output}` has the shape {list(shape)} for {len(matrix)} rows")
        scores = np.asarray(found, np.float64)
        return scores if scores.ndim == 1 or self._task == "multiclass" else scores[:, -1]


def require() -> ModuleType:
    """Return the onnxruntime module, imported now: only workers with such a model need it.

    Raises: SetupError with the command that installs it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SetupError(f"onnxruntime cannot be imported ({error}): pip install 'answeronce[onnx]'") from None
    return onnxruntime  # type: ignore[no-any-return]


def _errors(library: ModuleType) -> tuple[type[Exception], ...]:
    """Return the library's exceptions: each is a class of its own, and they have no base in common."""
    found: list[Any] = list(vars(library.capi.onnxruntime_pybind11_state).values())
    return tuple(each for each in found if isinstance(each, type) and issubclass(each, Exception))


def _options(library: ModuleType) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what matters is raised, too
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _input(inputs: Sequence[Node], manifest: Manifest) -> Node:
    """Return the one input. Raises: ConfigError unless it takes batches of any size of the manifest's matrix."""
    where, columns = manifest.artifact, len(manifest.columns)
    if len(inputs) != 1:
        raise ConfigError(
            f"{where} has {len(inputs)} inputs: {_listed(inputs)}; it needs one, tensor(float) or tensor(double) of "
            f"[batch, {columns}], which is the matrix of all features"
        )
    (taken,) = inputs
    if taken.type not in FLOATS:
        raise ConfigError(f"{where}: input {_listed(inputs)}; it must be tensor(float) or tensor(double)")
    if len(taken.shape) != 2 or (isinstance(taken.shape[1], int) and taken.shape[1] != columns):
        raise ConfigError(
            f"{where}: input {_listed(inputs)}; the manifest's features are {columns} columns, [batch, {columns}]"
        )
    if isinstance(taken.shape[0], int):
        raise ConfigError(
            f"{where}: input {_listed(inputs)}, batches of {taken.shape[0]} only; export it with a first dimension that is not "
            "fixed (dynamic_axes or dynamic_shapes in PyTorch, [None, …] in skl2onnx)"
        )
    return taken


def _output(outputs: Sequence[Node], manifest: Manifest) -> Node:
    """Return the output that the scores are: the one that the manifest names, or the only one that fits."""
    where, task, classes = manifest.artifact, manifest.task, len(manifest.output.classes)
    wanted = f'task "{task}" needs floats: {_ANSWERS[task].format(classes=classes)}'
    if manifest.onnx:
        outputs = [each for each in outputs if each.name == manifest.onnx.output] or outputs
        if outputs[0].name != manifest.onnx.output:
            raise ConfigError(f"{where} has no output `{manifest.onnx.output}`; its outputs are {_listed(outputs)}")
    fitting = [each for each in outputs if each.type in FLOATS and _fits(each.shape, task, classes)]
    if len(fitting) > 1:
        names = ", ".join(f"`{each.name}`" for each in fitting)
        raise ConfigError(f"{where} has several outputs that could be the scores: {names}; name one as [onnx] output")
    if fitting:
        return fitting[0]
    if any(each.type.startswith(ZIPMAP) for each in outputs):
        raise ConfigError(
            f"{where} gives its probabilities as a list of maps; convert the model with options={{'zipmap': False}} (skl2onnx)"
        )
    raise ConfigError(f"{where}: no output fits: {_listed(outputs)}; {wanted}")


def _fits(shape: Sequence[int | str | None], task: str, classes: int) -> bool:
    """Whether a shape may be that of the task's answers; lengths that are not fixed fit anything."""
    widths = {"binary": (1, 2), "multiclass": (classes,), "regression": (1,)}[task]
    if len(shape) == 2:
        return not isinstance(shape[1], int) or shape[1] in widths
    return len(shape) == 0 or (len(shape) == 1 and task != "multiclass")


def _listed(nodes: Sequence[Node]) -> str:
    return ", ".join(f"`{node.name}` is {node.type} of {_shown(node.shape)}" for node in nodes) or "none"


def _shown(shape: Sequence[int | str | None]) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]" if shape else "unknown shape"
