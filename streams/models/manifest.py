"""What a model package says of itself: `manifest.toml`, read strictly.

name = "flights-late"
version = "1"
task = "binary"                 # binary | multiclass | regression
flavor = "lightgbm"             # lightgbm | onnx
artifact = "model.txt"
extra_fields = "refuse"         # or "drop": accept a writer that is field for field an accepted one plus new fields

[[accepts]]
contract = "request.v1.avsc"    # a contract that the model accepts, as a file of the package

[[features]]                    # in the order of the artifact's own features
name = "dest"
from = "origin_airport"         # the contract's field, of a record in it `customer.age`; default: the name
kind = "category"               # number | category | vector
categories = ["ATL", "ORD"]     # the code that the model sees is the position in this list
missing = "refuse"              # null: refuse (default) | "nan" | a number (for a number)
unseen = "refuse"               # not in the list: refuse (default) | "missing" (nan)
# length = 64                   # of a vector (a contract's array): so many numbers, columns `name_0`, `name_1`, …
# unit = "minutes"              # of a number: what the model was trained in; the contract must state the same
# drift_tolerance = 0.1         # the PSI that is no drift; default: calibrated on the reference's blocks of time

[output]                        # of a binary model; see below for the others
classes = ["on_time", "late"]
positive = "late"
threshold = 0.5

[label]                         # optional: how the truth arrives
field = "late"
horizon_hours = 48
absence_means = "unknown"

[reference]                     # optional: what the training set looked like (see `reference.py`)
file = "reference.json"

[risk]                          # optional: how wrong it may be before somebody should know
metric = "error_rate"           # error_rate | brier
allowed = 0.16

[golden]                        # inputs with their expected scores (see `golden.py`)
file = "golden.jsonl"
tolerance = 0.0

A multiclass model's `[output]` has `classes` only, in the artifact's order; a regression model has no `[output]`. An
ONNX model with several outputs that could be meant says which one is:

[onnx]
output = "probabilities"
"""

import math
import tomllib
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from streams.complaints import complaints
from streams.config import Hours, Section
from streams.errors import ConfigError

FILE = "manifest.toml"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names and versions are also names of files in a store."""
CLASSES_MAX = 1_000
"""A multiclass result carries one probability, eight bytes, a class."""
SAID: dict[str, tuple[str, ...]] = {
    "binary": ("classes", "positive", "threshold"),
    "multiclass": ("classes",),
    "regression": (),
}
"""What `[output]` says, by task."""

Text = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Accepts(Section):
    """`[[accepts]]`: one contract that the model answers."""

    contract: Text
    """A file of the package."""


class Feature(Section):
    """`[[features]]`: one column of the model's matrix, and the contract's field that it is made of."""

    name: Text
    field: Annotated[str, Field(alias="from", max_length=200)] = ""
    kind: Literal["number", "category", "vector"]
    length: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Numbers of a vector; each is a column of its own."""
    categories: tuple[str, ...] = ()
    missing: Literal["nan", "refuse"] | Number = "refuse"
    unseen: Literal["refuse", "missing"] = "refuse"
    unit: Text | None = None
    """What the model was trained in; the contract's field must say the same."""
    drift_tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The PSI that a window may have without being drift; default: what the reference's own blocks have."""

    @field_validator("missing", mode="before")
    @classmethod
    def _missing(cls, value: Any) -> Any:
        """TOML has a nan of its own, and `missing = nan` means what it says."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isnan(value):
            return "nan"
        if value not in ("nan", "refuse") and not (number and math.isfinite(value)):
            raise ValueError('it is "nan", "refuse" or a finite number')
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "category":
            if not self.categories:
                raise ValueError(f"feature `{self.name}` is a category and needs `categories`, in the model's order")
            twice = sorted(value for value, times in Counter(self.categories).items() if times > 1)
            if twice:
                raise ValueError(f"feature `{self.name}` lists categories twice: {', '.join(twice)}")
            if not isinstance(self.missing, str):
                raise ValueError(f'feature `{self.name}` is a category: `missing` is "nan" or "refuse", not a number')
            if self.unit is not None:
                raise ValueError(f"feature `{self.name}` is a category, which has no `unit`")
        elif self.categories or "unseen" in self.model_fields_set:
            raise ValueError(f"feature `{self.name}` is a {self.kind}: `categories` and `unseen` are for categories")
        if (self.kind == "vector") != (self.length is not None):
            raise ValueError(f"feature `{self.name}` is a {self.kind}: `length` is for vectors, which need it")
        if self.kind == "vector" and not isinstance(self.missing, str):
            raise ValueError(f'feature `{self.name}` is a vector: `missing` is "nan" or "refuse", not a number')
        return self

    @property
    def source(self) -> str:
        """The contract's field that the feature is made of."""
        return self.field or self.name

    @property
    def columns(self) -> tuple["Feature", ...]:
        """The feature, or, of a vector, one for each of its numbers: `name_0`, `name_1`, …"""
        if self.length is None:
            return (self,)
        alike = {"field": self.source, "kind": "number", "length": None}
        return tuple(self.model_copy(update={**alike, "name": f"{self.name}_{at}"}) for at in range(self.length))


class Output(Section):
    """`[output]`: what the scores mean. A multiclass model says its classes only, a regression model nothing."""

    classes: Annotated[tuple[Text, ...], Field(max_length=CLASSES_MAX)] = ()
    """In the artifact's order: of a binary model, the artifact's label 0 first."""
    positive: Text = ""
    """The class whose probability a binary model's score is."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The positive class is picked from this score on."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        twice = sorted(name for name, times in Counter(self.classes).items() if times > 1)
        if twice:
            raise ValueError(f"`classes` names the same class twice: {', '.join(twice)}")
        return self

    def check(self, task: str) -> None:
        """Raises: ValueError where this is not what a model with the task says."""
        extra = sorted(self.model_fields_set - set(SAID[task]))
        if extra:
            raise ValueError(
                f'task "{task}" has no {" and no ".join(f"`{key}`" for key in extra)} in [output]; '
                f"it has {', '.join(f'`{key}`' for key in SAID[task]) or 'nothing there: the score is the value itself'}"
            )
        if task == "binary" and len(self.classes) != 2:
            raise ValueError(f'task "binary" needs two `classes` in [output]; there are {len(self.classes)}')
        if task == "binary" and self.positive != self.classes[1]:
            raise ValueError(
                f"`positive` in [output] must be the second of `classes` ({self.classes[1]}), whose probability the score is"
            )
        if task == "multiclass" and len(self.classes) < 2:
            raise ValueError(
                'task "multiclass" needs `classes` in [output], two or more, in the order of the artifact\'s probabilities'
            )


class Onnx(Section):
    """`[onnx]`: what an ONNX artifact does not say of itself."""

    output: Text
    """The output that the scores are, where several could be."""


class Label(Section):
    """`[label]`: which field of a label carries the truth, and until when it may arrive."""

    field: Text
    horizon_hours: Hours
    absence_means: Text = "unknown"
    """`unknown`, or the class that no label within the horizon stands for."""


class Reference(Section):
    """`[reference]`: histograms of the training set, in blocks of time."""

    file: Text


class Risk(Section):
    """`[risk]`: how wrong the model may be, measured on data that it was not trained on."""

    metric: Literal["error_rate", "brier"] = "error_rate"
    """The share of wrong picks; or the Brier score (of more than two classes half of it, so that it is at most 1)."""
    allowed: Annotated[float, Field(gt=0, lt=1)]
    """The largest mean of a window that is no deterioration."""


TOLERANCE_MAX = 0.001
"""Of a probability. Other libraries and processors move one by 1e-6 or so."""


class Golden(Section):
    """`[golden]`: inputs with their expected scores."""

    file: Text
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The largest difference of a score that still passes; 0 asks for equal bits."""


class Manifest(Section):
    """The whole file."""

    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=NAME)]
    task: Literal["binary", "multiclass", "regression"]
    flavor: Literal["lightgbm", "onnx"]
    artifact: Text
    extra_fields: Literal["refuse", "drop"] = "refuse"
    accepts: Annotated[tuple[Accepts, ...], Field(min_length=1)]
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    output: Output = Output()
    onnx: Onnx | None = None
    label: Label | None = None
    reference: Reference | None = None
    risk: Risk | None = None
    golden: Golden

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        names = [column.name for column in self.columns]
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise ValueError(f"two [[features]] are named {', '.join(twice)}")
        if self.onnx and self.flavor != "onnx":
            raise ValueError(f'[onnx] is for flavor "onnx"; this one is "{self.flavor}"')
        self.output.check(self.task)
        if self.task != "regression" and self.golden.tolerance > TOLERANCE_MAX:
            raise ValueError(f"[golden] tolerance is above {TOLERANCE_MAX}: of a probability that is another one")
        if self.risk and self.task == "regression":
            raise ValueError("[risk] is for models of classes: the loss of a number has no largest value")
        if self.label and self.label.absence_means not in ("unknown", *self.output.classes):
            classes = f" or one of the classes: {', '.join(self.output.classes)}" if self.output.classes else ""
            raise ValueError(f'[label] absence_means is "{self.label.absence_means}"; it is "unknown"{classes}')
        return self

    @property
    def columns(self) -> tuple[Feature, ...]:
        """The feature that each column of the matrix is made of, in the artifact's order."""
        return tuple(column for feature in self.features for column in feature.columns)


def parse(content: bytes, where: str = FILE) -> Manifest:
    """Return the manifest of a file's content.

    Raises: ConfigError that names the file, the key, and what is wrong with it.
    """
    try:
        return Manifest.model_validate(tomllib.loads(content.decode("utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValidationError as error:
        lines = "".join(f"\n  {complaint}" for complaint in complaints(error, Manifest, where))
        raise ConfigError(f"{where} is not a valid manifest:{lines}") from None
