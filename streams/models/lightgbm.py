"""LightGBM's native text models: what the file says of itself, and scores from it.

Only the text format is read; there is no pickle here. A package is trusted as far as whoever registered it: LightGBM's
parser was not written for hostile files, so register what you trained yourself.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import numpy as np

from streams.errors import ConfigError, SetupError
from streams.models.manifest import Feature, Manifest
from streams.records import Floats

MAGIC = b"tree\n"
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "binary": ("binary", "cross_entropy"),
    "multiclass": ("multiclass", "multiclassova"),
    "regression": (
        "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
    ),
}  # fmt: skip
"""By task, the objectives whose prediction is the probability of label 1, one probability a class, or a value. Not here:
`cross_entropy_lambda` predicts no probability, rankers score within a group only, and a custom objective leaves no name.
"""


class LightGbm:
    """One model, ready to score; by one thread, since a worker process is one core."""

    row_deterministic = True
    """A row is summed tree after tree on its own: it scores the same bits in any batch (`tests/models`)."""
    largest = float(np.finfo(np.float64).max)

    def __init__(self, artifact: bytes, manifest: Manifest) -> None:
        """Load the text and cross-check it with the manifest.

        Raises: ConfigError where they disagree or the file is no LightGBM text model; SetupError without LightGBM.
        """
        text = agreeing(artifact, manifest)
        library = require()
        try:
            self._booster = library.Booster(model_str=text)
        except library.basic.LightGBMError as error:
            raise ConfigError(f"{manifest.artifact}: LightGBM cannot read it: {error}") from None

    def score(self, matrix: Floats) -> Floats:
        """Return what the model predicts of each row; see `Scorer.score`.

        LightGBM's own `predict` costs 10 µs a call more than its C function and nothing more a row, so it is used.
        """
        if len(matrix) == 0:  # a batch of repeats only has no columns either, which LightGBM refuses
            return np.empty(0, np.float64)
        return cast(Floats, self._booster.predict(np.ascontiguousarray(matrix, np.float64), num_threads=1))


def require() -> ModuleType:
    """Return the lightgbm module, imported now: it takes half a second, and only workers with such a model need it.

    Raises: SetupError with the command that installs what is missing.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise SetupError(f"LightGBM cannot be imported ({error}): pip install 'answeronce[lightgbm]'") from None
    except OSError as error:  # the wheel brings LightGBM but not the system's OpenMP runtime
        command = "brew install libomp" if platform.system() == "Darwin" else "apt-get install libgomp1"
        raise SetupError(f"LightGBM needs the system's OpenMP library ({error}): {command}") from None
    return lightgbm


def agreeing(artifact: bytes, manifest: Manifest) -> str:
    """Return the model's text after checking that its head agrees with the manifest; LightGBM is not needed.

    Checked are the objective, the number of classes, that all trees are there, the number of features, their names (unless LightGBM made them up), that no tree knows a
    category code beyond the manifest's list, and, for a model trained on a pandas frame, that its categories are the
    manifest's in the same order. Raises: ConfigError naming the artifact, what it says and what the manifest says.
    """
    where = manifest.artifact
    if not artifact.startswith(MAGIC):
        raise ConfigError(f"{where} is not a LightGBM text model (its first line is not `tree`): use save_model(…)")
    try:
        text = artifact.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} is not a LightGBM text model: {error}") from None
    top, _, trees = text.partition("\n\n")
    head = dict(line.split("=", 1) for line in top.splitlines() if "=" in line)
    _check_objective(where, head, manifest)
    _check_names(where, head.get("feature_names", "").split(), manifest.columns)
    try:
        _check_trees(trees, [int(size) for size in head.get("tree_sizes", "").split()])
        _check_codes(where, head.get("feature_infos", "").split(), manifest.columns)
        _check_pandas(where, text, manifest.columns)
    except ValueError as error:
        raise ConfigError(f"{where} is damaged: {error}. Save the model again") from None
    return text


def _check_objective(where: str, head: Mapping[str, str], manifest: Manifest) -> None:
    """A multiclass model has one tree a class and iteration, any other model one tree an iteration."""
    objective = head.get("objective", "none").partition(" ")[0]
    allowed, classes = OBJECTIVES[manifest.task], len(manifest.output.classes)
    if objective not in allowed:
        raise ConfigError(
            f'{where} has the objective `{objective}`; task "{manifest.task}" needs one of {", ".join(allowed)}'
        )
    needed = classes if manifest.task == "multiclass" else 1
    found, trees = head.get("num_class", "no number of"), head.get("num_tree_per_iteration", "no")
    if (found, trees) != (str(needed), str(needed)):
        raise ConfigError(
            f'{where} has {found} classes and {trees} trees an iteration; task "{manifest.task}" needs {needed} of both, '
            f"as the manifest lists {classes} classes"
        )


def _check_trees(trees: str, sizes: list[int]) -> None:
    """Find every tree whole: LightGBM does not refuse a file that was cut off, it aborts the process."""
    at = 0
    for number, size in enumerate(sizes):
        if not trees.startswith(f"Tree={number}\n", at):
            raise ValueError(f"tree {number} of {len(sizes)} is not where it should be")
        at += size
    if not sizes or not trees.startswith("end of trees", at):
        raise ValueError("its trees have no end")


def _check_names(where: str, names: list[str], features: Sequence[Feature]) -> None:
    wanted = [feature.name for feature in features]
    if len(names) != len(wanted):
        raise ConfigError(f"{where} was trained on {len(names)} features, the manifest lists {len(wanted)}")
    unnamed = [f"Column_{i}" for i in range(len(names))]
    for at, (name, want) in enumerate(zip(names, wanted, strict=True)):
        if names != unnamed and name != want.replace(" ", "_"):
            raise ConfigError(f"{where}: feature {at} is `{name}` in the artifact and `{want}` in the manifest")


def _check_codes(where: str, infos: list[str], features: Sequence[Feature]) -> None:
    """A categorical feature's info is its codes, `0:2:1`; a number's is its range, `[0:1]`."""
    for info, feature in zip(infos, features, strict=False):
        if feature.kind == "category" and info[:1] not in ("[", "n"):
            highest = max(int(code) for code in info.split(":"))
            if highest >= len(feature.categories):
                raise ConfigError(
                    f"{where}: feature `{feature.name}` was trained with category code {highest}, "
                    f"the manifest lists {len(feature.categories)} categories"
                )


def _check_pandas(where: str, text: str, features: Sequence[Feature]) -> None:
    """LightGBM writes the categories of a pandas frame's columns behind the trees, in order of the columns."""
    _, found, rest = text.rpartition("\npandas_categorical:")
    lists: list[list[Any]] | None = json.loads(rest.partition("\n")[0]) if found else None
    if not lists:
        return
    wanted = [feature for feature in features if feature.kind == "category"]
    if len(lists) != len(wanted):
        raise ConfigError(
            f"{where} was trained on a frame with {len(lists)} categorical columns, "
            f"the manifest lists {len(wanted)} features that are categories"
        )
    for feature, categories in zip(wanted, lists, strict=True):
        if list(feature.categories) != categories:
            raise ConfigError(
                f"{where}: the categories of `{feature.name}` are {_short(categories)} in the artifact and "
                f"{_short(list(feature.categories))} in the manifest; copy them in the artifact's order"
            )


def _short(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"[{shown}, … {len(values)} in all]" if len(values) > 8 else f"[{shown}]"
