"""What `manifest.toml` may say, and what a mistake in it is told."""

import pytest

from streams.errors import ConfigError
from streams.models import manifest
from tests.models.small_packages import MANIFEST


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


@pytest.mark.parametrize(("score", "label"), [(0.5, "late"), (0.49999, "on_time"), (1.0, "late")])
def test_the_threshold_belongs_to_the_positive_class(score: float, label: str) -> None:
    """A score at the threshold is positive."""
    assert label == parsed().output.label(score)


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ('task = "binary"', 'task = "regression"', "task", "comes later"),
        ('task = "binary"', 'task = "rank"', "task", "'binary'"),
        ('flavor = "lightgbm"', 'flavor = "onnx"', "flavor", "comes later"),
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
        ('positive = "late"', 'positive = "on_time"', "output", "second of `classes`"),
        ('classes = ["on_time", "late"]', 'classes = ["late", "late"]', "output", "twice"),
        ('classes = ["on_time", "late"]', 'classes = ["late"]', "output.classes", "at least 2"),
        ('positive = "late"', 'positive = "late"\nthreshold = 1.5', "output.threshold", "less than or equal to 1"),
        ("horizon_hours = 48", "horizon_hours = 0", "label.horizon_hours", "greater than 0"),
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
