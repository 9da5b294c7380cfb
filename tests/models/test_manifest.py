"""What `manifest.toml` may say, and what a mistake in it is told."""

import json

import pytest

from streams.errors import ConfigError
from streams.models import manifest
from tests.models.small_packages import CLASSES, MANIFEST, MULTICLASS, ONNX, REGRESSION


def parsed(old: str = "", new: str = "") -> manifest.Manifest:
    assert old in MANIFEST
    return manifest.parse(MANIFEST.replace(old, new, 1).encode())


def test_reads_a_manifest() -> None:
    """Every table is read, and what is left out has its strict default."""
    about = parsed()
    assert ("late", "1", "refuse") == (about.name, about.version, about.extra_fields)
    assert ["carrier", "delay"] == [feature.source for feature in about.features]
    assert ("refuse", "refuse") == (about.features[0].missing, about.features[0].unseen)
    assert 0.0 == about.golden.tolerance
    assert about.label is not None
    assert "unknown" == about.label.absence_means


def test_a_feature_may_come_from_another_field() -> None:
    """`from` names the contract's field; the feature keeps its own name."""
    feature = parsed('name = "delay"', 'name = "delay"\nfrom = "dep_delay"').features[1]
    assert ("delay", "dep_delay") == (feature.name, feature.source)


@pytest.mark.parametrize(("written", "read"), [('"nan"', "nan"), ("nan", "nan"), ('"refuse"', "refuse"), ("0", 0.0)])
def test_missing(written: str, read: object) -> None:
    """A missing number is nan (as text or as TOML's own), refused, or a number."""
    assert read == parsed('missing = "nan"', f"missing = {written}").features[1].missing


def test_each_task_says_of_its_output_what_it_has() -> None:
    """A binary model all of it, a multiclass model its classes, a regression model nothing, with or without the table."""
    assert (("on_time", "late"), "late", 0.5) == (
        parsed().output.classes,
        parsed().output.positive,
        parsed().output.threshold,
    )
    assert CLASSES == manifest.parse(MULTICLASS.encode()).output.classes
    for table in ("", "[output]\n"):
        assert () == manifest.parse((REGRESSION + table).encode()).output.classes


def test_an_onnx_model_may_name_its_output() -> None:
    """Under [onnx], which other flavors have not."""
    assert manifest.parse(ONNX.encode()).onnx is None
    named = manifest.parse((ONNX + '[onnx]\noutput = "probabilities"\n').encode())
    assert named.onnx is not None
    assert "probabilities" == named.onnx.output


@pytest.mark.parametrize(
    ("content", "key", "problem"),
    [
        (
            MULTICLASS + 'positive = "late"\nthreshold = 0.5\n',
            "manifest.toml",
            'task "multiclass" has no `positive` and no `threshold` in [output]; it has `classes`',
        ),
        (MULTICLASS.replace(', "on_time", "late"', ""), "manifest.toml", "needs `classes` in [output], two or more"),
        (MULTICLASS.replace("[output]", "").replace("classes =", "# "), "manifest.toml", "needs `classes` in [output]"),
        (MULTICLASS.replace('"on_time"', '"late"'), "output", "the same class twice: late"),
        (
            MULTICLASS.replace('["early"', json.dumps([f"c{at}" for at in range(998)])[:-1] + ', "early"'),
            "output.classes",
            "at most 1000",
        ),
        (
            REGRESSION + '[output]\nclasses = ["low", "high"]\n',
            "manifest.toml",
            'task "regression" has no `classes` in [output]; it has nothing there: the score is the value itself',
        ),
        (
            REGRESSION + '[label]\nfield = "delay"\nhorizon_hours = 1\nabsence_means = "late"\n',
            "manifest.toml",
            '[label] absence_means is "late"; it is "unknown"',
        ),
        (REGRESSION + '[onnx]\noutput = "y"\n', "manifest.toml", '[onnx] is for flavor "onnx"; this one is "lightgbm"'),
        (ONNX + "[onnx]\n", "onnx.output", "is missing"),
    ],
)
def test_a_table_of_another_kind_of_model_is_told(content: str, key: str, problem: str) -> None:
    """In the manifest's own words."""
    with pytest.raises(ConfigError) as raised:
        manifest.parse(content.encode())
    assert f"[{key}] " in str(raised.value)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ('task = "binary"', 'task = "rank"', "task", "'binary'"),
        ('flavor = "lightgbm"', 'flavor = "pickle"', "flavor", "'lightgbm'"),
        ('name = "late"', 'name = "../late"', "name", "does not match"),
        ('version = "1"', 'version = ""', "version", "does not match"),
        ('version = "1"', "", "version", "is missing"),
        ('version = "1"', 'version = "1"\nstage = "prod"', "stage", "is not known"),
        ('artifact = "model.txt"', 'artifact = "model.txt"\nextra_fields = "keep"', "extra_fields", "'drop'"),
        ('[[accepts]]\ncontract = "ask.avsc"', "", "accepts", "is missing"),
        ('categories = ["UA", "B6", "AA", "DL"]', "", "features.0", "needs `categories`"),
        ('categories = ["UA", "B6",', 'categories = ["UA", "UA",', "features.0", "twice: UA"),
        ('kind = "category"', 'kind = "category"\nmissing = 0.0', "features.0", "not a number"),
        ('kind = "category"', 'kind = "category"\nunseen = "nan"', "features.0.unseen", "'missing'"),
        ('kind = "number"', 'kind = "number"\nunseen = "missing"', "features.1", "for categories"),
        ('missing = "nan"', 'missing = "zero"', "features.1.missing", "finite number"),
        ('missing = "nan"', "missing = true", "features.1.missing", "finite number"),
        ('missing = "nan"', "missing = [0]", "features.1.missing", "finite number"),
        ('missing = "nan"', "missing = inf", "features.1.missing", "finite number"),
        ('name = "delay"', 'name = "carrier"', "manifest.toml", "two [[features]] are named carrier"),
        ('positive = "late"', 'positive = "on_time"', "manifest.toml", "second of `classes`"),
        ('positive = "late"', "", "manifest.toml", "second of `classes` (late)"),
        ('classes = ["on_time", "late"]', 'classes = ["late", "late"]', "output", "twice"),
        (
            'classes = ["on_time", "late"]',
            'classes = ["late"]',
            "manifest.toml",
            "two `classes` in [output]; there are 1",
        ),
        ('["on_time", "late"]', '["a", "b", "c"]', "manifest.toml", "two `classes` in [output]; there are 3"),
        ('positive = "late"', 'positive = "late"\nthreshold = 1.5', "output.threshold", "less than or equal to 1"),
        ("horizon_hours = 48", "horizon_hours = 0", "label.horizon_hours", "greater than"),
        ("horizon_hours = 48", 'horizon_hours = 48\nabsence_means = "early"', "manifest.toml", "absence_means"),
        ('[golden]\nfile = "golden.jsonl"', "", "golden", "is missing"),
    ],
)
def test_a_mistake_is_told(old: str, new: str, key: str, problem: str) -> None:
    """The error names the file, the key, and what is wrong."""
    with pytest.raises(ConfigError) as raised:
        parsed(old, new)
    told = str(raised.value)
    assert "manifest.toml" in told
    assert f"[{key}]" in told
    assert problem in told


@pytest.mark.parametrize("content", [b"name = ", b"name = '\xff'"])
def test_what_is_no_toml_is_told(content: bytes) -> None:
    """A file that cannot be read as TOML is named with the parser's complaint."""
    with pytest.raises(ConfigError, match=r"pack/manifest\.toml: "):
        manifest.parse(content, "pack/manifest.toml")
