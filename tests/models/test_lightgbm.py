"""LightGBM text models: scores that do not depend on the batch, and files that do not belong to their manifest."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from streams.errors import ConfigError
from streams.models import manifest
from streams.models.lightgbm import OBJECTIVES, LightGbm, agreeing
from streams.records import Floats
from tests.models.small_packages import CARRIERS, MANIFEST, MULTICLASS, REGRESSION, asked, boosted, matrix, trained

ABOUT = manifest.parse(MANIFEST.encode())
PANDAS = "pandas_categorical:"


@pytest.fixture(scope="module")
def text() -> str:
    return trained()[0]


def large() -> tuple[LightGbm, Floats]:
    """Return a model of 100 trees with 31 leaves over ten features, and 10,000 rows for it."""
    rng = np.random.default_rng(7)
    data = rng.normal(size=(20_000, 10))
    data[:, 0], data[:, 1] = rng.integers(0, 16, len(data)), rng.integers(0, 94, len(data))
    data[rng.random(data.shape) < 0.05] = np.nan
    late = np.nan_to_num(data[:, 3] + data[:, 4] * data[:, 5] + data[:, 1] % 3) + rng.normal(size=len(data)) > 1
    settings = {"objective": "binary", "num_leaves": 31, "num_threads": 2, "verbose": -1}
    names = [f"f{at}" for at in range(10)]
    dataset = lightgbm.Dataset(data, late, feature_name=names, categorical_feature=[0, 1])
    trained = lightgbm.train(settings, dataset, 100).model_to_string()
    features = [{"name": name, "kind": "number"} for name in names]
    about = ABOUT.model_copy(update={"features": tuple(map(manifest.Feature.model_validate, features))})
    return LightGbm(trained.encode(), about), data[:10_000]


def test_a_row_scores_the_same_bits_in_any_batch() -> None:
    """Alone, among ten thousand, in another order, in a slice of another layout: equal bits. Speed is printed."""
    model, data = large()
    assert model.row_deterministic
    began = time.perf_counter()
    whole = model.score(data)
    print(f"lightgbm: {(time.perf_counter() - began) * 100:.2f} µs a row, 100 trees of 31 leaves")
    order = np.random.default_rng(8).permutation(len(data))
    assert whole[order].tobytes() == model.score(data[order]).tobytes()
    assert whole[::3].tobytes() == model.score(data[::3]).tobytes()
    assert whole.tobytes() == model.score(np.asfortranarray(data)).tobytes()
    assert whole[:500].tobytes() == np.concatenate([model.score(data[at : at + 1]) for at in range(500)]).tobytes()


def test_scores_are_lightgbm_s_own(text: str) -> None:
    """What comes out is what LightGBM predicts, as float64 of shape (rows,); no rows give no scores."""
    data = matrix(asked(50))
    scores = LightGbm(text.encode(), ABOUT).score(data)
    assert np.asarray(lightgbm.Booster(model_str=text).predict(data)).tobytes() == scores.tobytes()
    assert ((50,), np.dtype(np.float64)) == (scores.shape, scores.dtype)
    for nothing in (data[:0], np.empty((0, 0))):
        assert 0 == len(LightGbm(text.encode(), ABOUT).score(nothing))
    assert not math.isclose(scores.min(), scores.max())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tree\n", "\x80\x04tree\n", "not a LightGBM text model"),
        ("objective=binary sigmoid:1", "objective=regression", 'task "binary" needs one of binary, cross_entropy'),
        ("objective=binary sigmoid:1", "objective=multiclass num_class:3", "objective `multiclass`"),
        ("objective=binary sigmoid:1", "", "objective `none`"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=3", "has 1 classes and 3 trees an iteration"),
        ("\nnum_class=1", "", "has no number of classes"),
        ("feature_names=carrier delay", "feature_names=delay carrier", "feature 0 is `delay` in the artifact"),
        ("feature_names=carrier delay", "feature_names=carrier", "trained on 1 features, the manifest lists 2"),
        ("feature_infos=", "feature_infos=9:", "category code 9"),
        ("feature_infos=", "feature_infos=x:", "damaged"),
        (f"{PANDAS}null", f'{PANDAS}[["UA","AA","B6","DL"]]', "[UA, AA, B6, DL] in the artifact"),
        (f"{PANDAS}null", f"{PANDAS}[[1,2,3,4]]", "[1, 2, 3, 4] in the artifact"),
        (f"{PANDAS}null", f'{PANDAS}[["UA"],["B6"]]', "2 categorical columns"),
        (f"{PANDAS}null", f"{PANDAS}[[", "damaged"),
        ("Tree=7", "Leaf=7", "tree 7 of 20 is not where it should be"),
        ("end of trees", "", "no end"),
        ("\nmax_feature_idx=", "\nmax_feature=", "LightGBM cannot read it"),
    ],
)
def test_an_artifact_that_does_not_belong_to_its_manifest_is_refused(
    text: str, old: str, new: str, problem: str
) -> None:
    """The error names the artifact, and what it and the manifest say."""
    assert old in text
    with pytest.raises(ConfigError) as raised:
        LightGbm(text.replace(old, new, 1).encode("latin-1"), ABOUT)
    assert "model.txt" in str(raised.value)
    assert problem in str(raised.value)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_a_multiclass_model_gives_one_probability_a_class(objective: str) -> None:
    """LightGBM's own bits, in the artifact's order, the same in any batch; of another number of classes it is refused."""
    text, about = boosted(objective), manifest.parse(MULTICLASS.encode())
    model, data = LightGbm(text.encode(), about), matrix(asked(300, seed=4))
    scores = model.score(data)
    assert ((300, 3), np.dtype(np.float64)) == (scores.shape, scores.dtype)
    assert np.asarray(lightgbm.Booster(model_str=text).predict(data)).tobytes() == scores.tobytes()
    assert scores.tobytes() == np.concatenate([model.score(data[at : at + 1]) for at in range(300)]).tobytes()
    assert {0, 1, 2} == set(scores.argmax(axis=1).tolist())
    four = manifest.parse(MULTICLASS.replace('"late"]', '"late", "never"]').encode())
    with pytest.raises(ConfigError, match=r"has 3 classes and 3 trees an iteration.*4 classes"):
        LightGbm(text.encode(), four)


@pytest.mark.parametrize("objective", OBJECTIVES["regression"])
def test_a_regression_model_gives_a_value(objective: str) -> None:
    """Of every objective that predicts one: as LightGBM predicts it, shape (rows,)."""
    text, about = boosted(objective), manifest.parse(REGRESSION.encode())
    data = matrix(asked(50, seed=4))
    scores = LightGbm(text.encode(), about).score(data)
    assert (50,) == scores.shape
    assert np.asarray(lightgbm.Booster(model_str=text).predict(data)).tobytes() == scores.tobytes()
    with pytest.raises(ConfigError, match=f'objective `{objective}`; task "binary" needs'):
        LightGbm(text.encode(), ABOUT)


def test_a_file_that_was_cut_off_is_refused(text: str) -> None:
    """At any place before the end of its trees: LightGBM itself would abort the process."""
    end = text.index("end of trees")
    for at in range(0, end, end // 50):
        with pytest.raises(ConfigError, match=r"model\.txt"):
            agreeing(text[:at].encode(), ABOUT)


def test_bytes_that_are_no_text_are_refused() -> None:
    """A file that begins like a model and is none."""
    with pytest.raises(ConfigError, match="not a LightGBM text model"):
        agreeing(b"tree\n\xff", ABOUT)


def test_what_the_artifact_does_not_know_is_not_asked_for(text: str) -> None:
    """Names that LightGBM made up say nothing; pandas categories in the manifest's order agree with it."""
    agreeing(text.replace("=carrier delay", "=Column_0 Column_1").encode(), ABOUT)
    agreeing(text.replace(f"{PANDAS}null", PANDAS + json.dumps([CARRIERS])).encode(), ABOUT)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("raise OSError('libgomp.so.1: cannot open shared object file')", ("libgomp.so.1", "install lib")),
        (
            "raise ModuleNotFoundError('No module named scipy')",
            ("No module named scipy", "pip install 'answeronce[lig"),
        ),
    ],
)
def test_a_missing_library_is_told_with_the_command_that_installs_it(
    tmp_path: Path, content: str, told: tuple[str, str]
) -> None:
    """A wheel without its OpenMP runtime, or no wheel: another process meets it, and its error says what to run."""
    (tmp_path / "lightgbm.py").write_text(content)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from streams.errors import SetupError\n"
        "from streams.models import lightgbm\n"
        "try:\n    lightgbm.require()\n"
        "except SetupError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(part in said for part in told), said


def test_lightgbm_is_not_imported_before_it_is_needed() -> None:
    """The import takes half a second, which every restart of a worker would pay."""
    program = "import sys, streams.models.packages; print('lightgbm' in sys.modules)"
    assert "False\n" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
