"""ONNX models: what is scored, what is refused when a model is registered, and that nothing but the artifact is read."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streams.avro.schema import parse
from streams.errors import ConfigError
from streams.models import manifest, packages, rows
from streams.models.external_data import EXTERNAL, INSIDE, has_external_data
from streams.models.onnx import OnnxGraph
from streams.models.scorer import Unscorable
from streams.models.store import FileStore
from streams.reasons import Reason
from tests.models import small_packages
from tests.models.small_graphs import DOUBLE, FLOAT, external, linear, logits, node, serialized, value
from tests.models.small_packages import CONTRACT, MULTICLASS, ONNX, REGRESSION, asked, matrix, onnx_files, packed, write

BINARY = manifest.parse(ONNX.encode())


def as_onnx(toml: str, more: str = "") -> manifest.Manifest:
    """Return a LightGBM package's manifest as one of flavor "onnx"."""
    text = toml.replace('"lightgbm"', '"onnx"').replace("model.txt", "model.onnx")
    return manifest.parse((text + more).encode())


def both() -> bytes:
    """Return a model with the probabilities of both classes."""
    nodes = [
        node("Sigmoid", "logits", "p"),
        node("Neg", "logits", "negative"),
        node("Sigmoid", "negative", "q"),
        node("Concat", "q p", "y", axis=1),
    ]
    return linear(*nodes, outputs=[value("y", FLOAT, ["batch", 2])])


def flat() -> bytes:
    """Return a model with one number a row, shape (batch,)."""
    nodes = [node("Sigmoid", "logits", "p"), node("Flatten", "p", "f", axis=0), node("Squeeze", "f", "y")]
    return linear(*nodes, outputs=[value("y", FLOAT, ["batch"])])


@pytest.mark.parametrize("artifact", [linear(), linear(type_=DOUBLE), both()], ids=["one column", "double", "both"])
def test_a_binary_score_is_the_positive_class_s_probability(artifact: bytes) -> None:
    """One column or two, float or double: float64 of shape (rows,), near what float64 makes of the same weights."""
    data = matrix(asked(200))
    scores = OnnxGraph(artifact, BINARY).score(data)
    expected = 1 / (1 + np.exp(-logits(data)[:, 0]))
    assert ((200,), np.dtype(np.float64)) == (scores.shape, scores.dtype)
    assert np.abs(scores - expected).max() < 1e-6
    assert 0 == len(OnnxGraph(artifact, BINARY).score(data[:0]))


def test_a_multiclass_model_gives_one_probability_a_class() -> None:
    """In the artifact's order, which is the manifest's."""
    artifact = linear(node("Softmax", "logits", "y"), width=3)
    data = matrix(asked(50))
    powers = np.exp(logits(data))
    assert (
        np.abs(OnnxGraph(artifact, as_onnx(MULTICLASS)).score(data) - powers / powers.sum(1, keepdims=True)).max()
        < 1e-6
    )


def test_a_regression_model_gives_a_value() -> None:
    """Of one column, as a number a row."""
    artifact = linear(node("Identity", "logits", "y"))
    data = matrix(asked(50))
    scores = OnnxGraph(artifact, as_onnx(REGRESSION)).score(data)
    assert (50,) == scores.shape
    assert np.abs(scores - logits(data)[:, 0]).max() < 1e-4


SEVERAL = linear(
    node("Sigmoid", "logits", "y"), node("Identity", "logits", "raw"),
    outputs=[value("raw", FLOAT, ["batch", 1]), value("y", FLOAT, ["batch", 1])],
)  # fmt: skip


def test_the_manifest_names_the_output_where_several_could_be_meant() -> None:
    """An output of another type or shape is no candidate; with two candidates the name decides."""
    data = matrix(asked(20))
    named = as_onnx(ONNX, '[onnx]\noutput = "y"\n')
    assert OnnxGraph(linear(), BINARY).score(data).tolist() == OnnxGraph(SEVERAL, named).score(data).tolist()
    label = [node("Sigmoid", "logits", "y"), node("Cast", "logits", "label", to=TensorProto.INT64)]
    labelled = linear(
        *label, outputs=[value("label", TensorProto.INT64, ["batch", 1]), value("y", FLOAT, ["batch", 1])]
    )
    assert OnnxGraph(linear(), BINARY).score(data).tolist() == OnnxGraph(labelled, BINARY).score(data).tolist()


ZIPMAP = linear(
    node("Sigmoid", "logits", "p"),
    node("ZipMap", "p", "y", classlabels_int64s=[0], domain="ai.onnx.ml"),
    outputs=[
        helper.make_value_info(
            "y",
            helper.make_sequence_type_proto(
                helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
            ),
        )
    ],
)


@pytest.mark.parametrize(
    ("artifact", "toml", "problem"),
    [
        (linear(columns=3), ONNX, "`x` is tensor(float) of [batch, 3]; the manifest's features are 2 columns"),
        (linear(batch=8), ONNX, "batches of 8 only; export it with a first dimension that is not fixed"),
        (linear(inputs=[value("z", FLOAT, ["batch", 1])]), ONNX, "has 2 inputs: `x` is tensor(float) of [batch, 2], `z`"),
        (linear(type_=TensorProto.FLOAT16), ONNX, "must be tensor(float) or tensor(double)"),
        (linear(width=3), ONNX, "no output fits: `y` is tensor(float) of [batch, 3]; task \"binary\" needs floats"),
        (linear(width=2), MULTICLASS, "`y` is tensor(float) of [batch, 2]; task \"multiclass\" needs floats: one probability a class, [batch, 3]"),
        (both(), REGRESSION, "the value, [batch] or [batch, 1]"),
        (SEVERAL, ONNX, "several outputs that could be the scores: `raw`, `y`; name one as [onnx] output"),
        (SEVERAL, ONNX + '[onnx]\noutput = "probability"\n', "no output `probability`; its outputs are `raw` is tensor"),
        (ZIPMAP, ONNX, "convert the model with options={'zipmap': False}"),
        (b"", ONNX, "onnxruntime cannot load it"),
        (b"\x80\x04pickle", ONNX, "onnxruntime cannot load it"),
        (linear()[:-20], ONNX, "is not an ONNX model"),
        (linear(node("Imagined", "logits", "y", domain="test")), ONNX, "onnxruntime cannot load it"),
    ],
)  # fmt: skip
def test_an_artifact_that_does_not_belong_to_its_manifest_is_refused(artifact: bytes, toml: str, problem: str) -> None:
    """The error names the artifact, what it has and what is needed."""
    with pytest.raises(ConfigError) as raised:
        OnnxGraph(artifact, as_onnx(toml))
    assert str(raised.value).startswith("model.onnx")
    assert problem in str(raised.value)


def inner(tensor: Any) -> Any:
    """Return a graph that holds a tensor."""
    return helper.make_graph([], "inner", [], [], [tensor])


PLACES: dict[str, Callable[[Any], bytes]] = {
    "initializer": lambda tensor: serialized(inner(tensor)),
    "attribute": lambda tensor: linear(helper.make_node("Constant", [], ["y"], value=tensor)),
    "subgraph": lambda tensor: linear(helper.make_node("If", ["logits"], ["y"], then_branch=inner(tensor))),
    "subgraph of a subgraph": lambda tensor: linear(
        helper.make_node(
            "If", ["c"], ["y"],
            then_branch=helper.make_graph([helper.make_node("If", ["c"], ["y"], else_branch=inner(tensor))], "in", [], []),
        )
    ),
    "sparse values": lambda tensor: linear(
        helper.make_node("Constant", [], ["y"], sparse_value=onnx.SparseTensorProto(values=tensor, dims=[1]))
    ),
    "function": lambda tensor: serialized(
        helper.make_graph([], "empty", [], []),
        helper.make_function(
            "test", "F", [], ["y"], [helper.make_node("Constant", [], ["y"], value=tensor)], [helper.make_opsetid("", 17)]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_model_with_data_in_other_files_is_refused(place: str) -> None:
    """Wherever in the graph the tensor is: a path in it could name any file that the worker may read."""
    inline = TensorProto(name="here", data_type=FLOAT, dims=[1], float_data=[1.0])
    assert not has_external_data(PLACES[place](inline))
    assert has_external_data(PLACES[place](external()))
    with pytest.raises(ConfigError, match="keeps data in other files"):
        OnnxGraph(PLACES[place](external()), BINARY)


def test_every_way_to_a_tensor_is_known() -> None:
    """The `onnx` package's own description of the format names no message on the way to a tensor that is not walked."""
    waiting, ways = [onnx.ModelProto.DESCRIPTOR], dict[str, dict[int, Any]]()
    while waiting:
        message = waiting.pop()
        if message.name not in ways:
            ways[message.name] = {f.number: f.message_type for f in message.fields if f.message_type is not None}
            waiting += ways[message.name].values()
    reaching = {"TensorProto"}
    for _ in ways:
        reaching |= {name for name, inside in ways.items() if {kind.name for kind in inside.values()} & reaching}
    found = {
        name: {number: kind.name for number, kind in ways[name].items() if kind.name in reaching} for name in reaching
    }
    assert found == INSIDE
    fields = TensorProto.DESCRIPTOR.fields_by_name
    assert {fields["external_data"].number, fields["data_location"].number} == EXTERNAL


def test_a_file_that_was_cut_off_or_damaged_is_never_walked_for_ever(seed: int) -> None:
    """The walk ends with an answer or a ValueError, wherever bytes are missing or wrong."""
    rng, whole = np.random.default_rng(seed), linear()
    refused = 0
    for _ in range(2_000):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        try:
            has_external_data(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 500


def registered(tmp_path: Path, files: dict[str, bytes]) -> packages.Loaded:
    store = FileStore(tmp_path / "store")
    packages.register(write(files, tmp_path / "package"), store)
    return packages.load(store, "late", "1")


def test_a_registered_model_is_loaded_and_scores(tmp_path: Path) -> None:
    """As a `ports.Model`; it promises no equal bits."""
    model = registered(tmp_path, onnx_files())
    assert not model.row_deterministic
    answer = model.answer(model.score(matrix(asked(100, seed=3))))
    assert answer.score is not None
    assert [b"late" if score >= 0.5 else b"on_time" for score in answer.score.tolist()] == answer.label
    assert {b"late", b"on_time"} == set(answer.label or ())


def test_golden_rows_need_a_tolerance(tmp_path: Path) -> None:
    """float32 is not float64; the error says which setting to use."""
    files = onnx_files()
    files["manifest.toml"] = files["manifest.toml"].replace(b"tolerance = 1e-6", b"")
    with pytest.raises(ConfigError, match=r'Flavor "onnx" does not promise equal bits: set \[golden\] tolerance'):
        registered(tmp_path, files)


def test_a_model_that_puts_out_logits_is_refused(tmp_path: Path) -> None:
    """Also where golden rows were made with it: a probability lies in 0 to 1."""
    files = packed(ONNX, "score", logits(matrix(small_packages.GOLDEN))[:, 0], linear(node("Identity", "logits", "y")))
    with pytest.raises(ConfigError, match=r"Does model.onnx put out logits\? Let it end with a sigmoid"):
        registered(tmp_path, files)


@pytest.mark.parametrize("right_in", ["one batch", "none"])
def test_a_model_that_is_right_for_some_sizes_of_a_batch_only_is_refused(tmp_path: Path, right_in: str) -> None:
    """One that looks at its neighbours (here: at the batch's mean) says of a row alone what it does not say in company."""
    centred = [
        node("ReduceMean", "logits", "mean", axes=[0], keepdims=1),
        node("Sub", "logits mean", "centred"),
        node("Sigmoid", "centred", "y"),
    ]
    said = logits(matrix(small_packages.GOLDEN))[:, 0]
    together = said - said.mean()
    expected = 1 / (1 + np.exp(-together if right_in == "one batch" else 0 * together))
    scored = "alone" if right_in == "one batch" else "in one batch"
    with pytest.raises(ConfigError, match=f"line 1: expected .*, got .* when scored {scored}"):
        registered(tmp_path, packed(ONNX, "score", expected, linear(*centred)))


def test_an_output_that_is_squeezed_to_nothing_is_told(tmp_path: Path) -> None:
    """Exporters squeeze: a batch of one then has no batch. The error says the shape."""
    files = onnx_files() | {"model.onnx": flat()}
    with pytest.raises(
        ConfigError, match=r"does not score the rows of golden.jsonl: output `y` has the shape \[\] for 1 rows"
    ):
        registered(tmp_path, files)


def test_a_row_that_the_graph_cannot_score_does_not_stop_the_others(tmp_path: Path) -> None:
    """A lookup outside its table fails the whole batch; its row is nan, which is refused, and the others are answered."""
    table = [
        node("Constant", "", "table", value=helper.make_tensor("t", FLOAT, [50, 1], np.linspace(0, 1, 50))),
        node("Constant", "", "one", value_ints=[1]),
        node("Cast", "known", "codes", to=TensorProto.INT64),
        node("Gather", "codes one", "code", axis=1),
        node("Squeeze", "code one", "flat"),
        node("Abs", "flat", "positive"),
        node("Gather", "table positive", "y"),
    ]
    artifact = linear(*table)
    delays = np.abs(np.nan_to_num(matrix(small_packages.GOLDEN)[:, 1])).astype(int)
    assert delays.max() < 70
    golden = [{**row, "delay": (row["delay"] or 0.0) % 50} for row in small_packages.GOLDEN]
    expected = np.linspace(0, 1, 50)[[int(row["delay"]) for row in golden]]
    files = onnx_files() | {"model.onnx": artifact}
    files["golden.jsonl"] = "\n".join(
        json.dumps({"request": row, "score": score}) for row, score in zip(golden, expected.tolist(), strict=True)
    ).encode()
    model = registered(tmp_path, files)
    data = np.stack([np.zeros(200), np.arange(200.0) % 60], axis=1)
    scores = model.score(data)
    assert (data[:, 1] >= 50).tolist() == np.isnan(scores).tolist()
    assert np.abs(scores[:50] - np.linspace(0, 1, 50)).max() < 1e-6
    with pytest.raises(Unscorable, match="Gather"):
        OnnxGraph(artifact, BINARY).score(data)


def test_a_number_beyond_the_graph_s_inputs_is_refused(tmp_path: Path) -> None:
    """float32 would make infinity of it, in silence; a graph of doubles takes it. Infinity itself and nan stay what they are."""
    requests = asked(5)
    for at, delay in enumerate((1e39, -1e300, 3.4e38, float("inf"), None)):
        requests[at]["delay"] = delay
    contract = parse(CONTRACT)
    decoded = rows.decoded(contract, requests)
    model = registered(tmp_path, onnx_files())
    cells, refusals = model.features(decoded, model.accepts[0], np.arange(5))
    assert {0: "1e+39", 1: "-1e+300"} == {row: detail.value for row, (_, detail) in refusals.rows.items()}
    assert {(Reason.NOT_REPRESENTABLE, "delay")} == {
        (reason, detail.field) for reason, detail in refusals.rows.values()
    }
    assert 5 == len(cells)
    double = registered(tmp_path / "double", onnx_files() | {"model.onnx": linear(type_=DOUBLE)})
    assert {} == double.features(decoded, double.accepts[0], np.arange(5))[1].rows


def test_onnxruntime_is_not_imported_before_it_is_needed() -> None:
    """Nor is it for a LightGBM model."""
    program = "import sys, streams.models.packages; print('onnxruntime' in sys.modules)"
    assert "False\n" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout


def test_a_missing_library_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """Another process meets it, and its error says what to run."""
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('No module named onnxruntime')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from streams.errors import SetupError\n"
        "from streams.models import onnx\n"
        "try:\n    onnx.require()\n"
        "except SetupError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install 'answeronce[onnx]'" in said
