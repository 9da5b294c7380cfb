"""Packages as a whole: what registers, what is found out, and that what was registered is what is loaded."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.avro.schema import parse
from streams.config import App, Requests, Settings
from streams.config import Model as Named
from streams.errors import ConfigError, SetupError
from streams.models import manifest, packages, rows
from streams.models.lightgbm import LightGbm
from streams.models.store import FileStore, digest
from streams.ports import Answer, Model
from tests.models.small_packages import (
    CLASSES,
    CONTRACT,
    asked,
    files,
    matrix,
    multiclass_files,
    regression_files,
    write,
)

Change = Callable[[dict[str, bytes]], None]


def changed(change: Change) -> dict[str, bytes]:
    package = dict(files())
    change(package)
    return package


def replace(path: str, old: str, new: str, count: int = 1) -> Change:
    """Return the change of one file's text."""

    def change(package: dict[str, bytes]) -> None:
        assert old.encode() in package[path]
        package[path] = package[path].replace(old.encode(), new.encode(), count)

    return change


def keep_lines(count: int) -> Change:
    def change(package: dict[str, bytes]) -> None:
        package["golden.jsonl"] = b"\n".join(package["golden.jsonl"].splitlines()[:count])

    return change


def test_a_registered_model_is_loaded_and_scores(tmp_path: Path) -> None:
    """It answers as a `ports.Model`, by the name and version it was registered under."""
    store = FileStore(tmp_path / "store")
    registered = packages.register(write(files(), tmp_path / "late"), store)
    model: Model = packages.load(store, "late", "1")
    assert (registered, 32) == (model.digest, len(model.digest))
    assert ("late", "1", False, True) == (model.name, model.version, model.drop_extra_fields, model.row_deterministic)
    assert (parse(CONTRACT),) == model.accepts
    requests = asked(30, seed=9)
    cells, refusals = model.features(rows.decoded(model.accepts[0], requests), model.accepts[0], np.arange(30))
    assert ({}, matrix(requests).tobytes()) == (refusals.rows, cells.tobytes())
    assert (
        LightGbm(files()["model.txt"], manifest.parse(files()["manifest.toml"])).score(cells).tobytes()
        == model.score(cells).tobytes()
    )


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    """The same content is the same digest; the store is untouched."""
    store = FileStore(tmp_path / "store")
    folder = write(files(), tmp_path / "late")
    first = packages.register(folder, store)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    assert first == packages.register(folder, store)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}


def test_a_version_is_never_given_to_other_content(tmp_path: Path) -> None:
    """Another package under the same name and version is refused, and the first one still loads."""
    store = FileStore(tmp_path / "store")
    first = packages.register(write(files(), tmp_path / "a"), store)
    other = changed(replace("manifest.toml", "horizon_hours = 48", "horizon_hours = 24"))
    with pytest.raises(ConfigError, match="late 1 is registered with other content"):
        packages.register(write(other, tmp_path / "b"), store)
    with pytest.raises(ConfigError, match="late 1 is registered with other content"):
        packages.checked(tmp_path / "b", store)
    assert first == packages.checked(tmp_path / "a", store).digest
    assert first == packages.load(store, "late", "1").digest


@pytest.mark.parametrize("extra", ["refuse", "drop"])
def test_a_lane_s_contract_that_the_model_does_not_accept_is_told(tmp_path: Path, extra: str) -> None:
    """Before each of its requests is refused; judged as a worker judges. A file that cannot be read is not judged."""
    head = replace("manifest.toml", 'artifact = "model.txt"', f'artifact = "model.txt"\nextra_fields = "{extra}"')
    model = packages.checked(write(changed(head), tmp_path / "late"), FileStore(tmp_path / "store"))
    more = json.loads(CONTRACT)
    more["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
    other = json.loads(CONTRACT)
    other["fields"][2] |= {"minimum": 0}
    told = {}
    for name, text in {"same": CONTRACT, "more": json.dumps(more), "other": json.dumps(other), "bad": "{"}.items():
        (tmp_path / name).write_text(text)
        told[name] = packages.unaccepted(model.manifest, model.accepts, _settings(tmp_path, name))
    told["none"] = packages.unaccepted(model.manifest, model.accepts, _settings(tmp_path, "none"))
    silent = {"same", "bad", "none"} | ({"more"} if extra == "drop" else set())
    assert silent == {name for name, texts in told.items() if not texts}
    (text,) = told["other"]
    assert "late 1 does not accept other, the contract of asks: each request written with it will be refused" in text


def _settings(folder: Path, contract: str) -> Settings:
    return Settings(
        app=App(id="app", state_dir=folder),
        kafka={"bootstrap.servers": "nowhere:1"},
        schema_registry={"url": "http://nowhere"},
        requests=(Requests(topic="asks", contract=folder / contract),),
        model=Named(store=folder.as_uri(), name="late", version="1"),
    )


def test_extra_fields_may_be_dropped(tmp_path: Path) -> None:
    """The one leniency of a package is what the manifest says."""
    lenient = changed(
        replace("manifest.toml", 'artifact = "model.txt"', 'artifact = "model.txt"\nextra_fields = "drop"')
    )
    store = FileStore(tmp_path / "store")
    packages.register(write(lenient, tmp_path / "late"), store)
    assert packages.load(store, "late", "1").drop_extra_fields


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda package: package.pop("manifest.toml"), "no file `manifest.toml`"),
        (lambda package: package.pop("ask.avsc"), "no file `ask.avsc`"),
        (lambda package: package.pop("model.txt"), "no file `model.txt`"),
        (lambda package: package.pop("golden.jsonl"), "no file `golden.jsonl`"),
        (lambda package: package.pop("reference.json"), "no file `reference.json`"),
        (replace("ask.avsc", '"double"', '"array"'), "ask.avsc is not a contract that can be read"),
        (replace("ask.avsc", '"carrier"', '"airline"'), "there is no field `carrier`"),
        (replace("manifest.toml", '["UA", "B6", "AA", "DL"]', '["UA", "B6", "AA"]'), "category code 3"),
        (replace("manifest.toml", '["UA", "B6", "AA", "DL"]', '["B6", "UA", "AA", "DL"]'), "rows differ"),
        (replace("manifest.toml", 'missing = "nan"', "missing = 0"), "rows differ"),
        (replace("manifest.toml", 'missing = "nan"', 'missing = "refuse"'), "refuses it (MISSING_VALUE, field delay"),
        (replace("golden.jsonl", "UA", "ZZ"), 'refuses it (UNSEEN_CATEGORY, field carrier, "ZZ")'),
        (replace("golden.jsonl", '"score": 0.', '"score": 1.'), "golden.jsonl, line 1: expected 1."),
        (replace("golden.jsonl", '"score": 0.', '"score": NaN, "x": 0.'), "line 1: NaN is not JSON"),
        (
            replace("golden.jsonl", '"score": 0.', '"scores": 0.'),
            "line 1: [score] is missing; [scores] is not known; did you mean `score`?",
        ),
        (replace("golden.jsonl", '"carrier"', '"airline"'), "no field airline"),
        (replace("golden.jsonl", '"score"', '"contract": "b.avsc", "score"'), "rows for ask.avsc, b.avsc"),
        (keep_lines(19), "golden.jsonl has 19 rows; at least 20"),
        (
            replace("ask.avsc", '"string"}, {"name": "delay"', '"string", "categories": ["B6"]}, {"name": "delay"'),
            'line 1: field carrier is "DL", but the contract allows B6',
        ),
        (replace("model.txt", "leaf_value=-", "leaf_value=+"), "rows differ"),
        (replace("model.txt", "tree\n", "\x80pickle"), "not a LightGBM text model"),
        (replace("reference.json", '"carrier"', '"airline"'), "reference.json describes the features airline"),
    ],
)
def test_a_package_with_a_fault_is_not_registered(tmp_path: Path, change: Change, problem: str) -> None:
    """The error names the folder, the file and what is wrong; nothing reaches the store."""
    folder = write(changed(change), tmp_path / "late")
    with pytest.raises(ConfigError) as raised:
        packages.register(folder, FileStore(tmp_path / "store"))
    assert str(raised.value).startswith(f"{folder}: ")
    assert problem in str(raised.value)
    assert not (tmp_path / "store").exists()


def test_every_accepted_contract_needs_a_golden_row(tmp_path: Path) -> None:
    """A second contract without a row could have its fields mixed up; with one it is checked on its own fields."""
    second = json.loads(CONTRACT)
    second["fields"].insert(0, {"name": "note", "type": ["null", "string"], "meta": True})
    accepts = '[[accepts]]\ncontract = "ask.avsc"'
    package = changed(replace("manifest.toml", accepts, accepts + '\n[[accepts]]\ncontract = "ask2.avsc"'))
    package["ask2.avsc"] = json.dumps(second).encode()
    store = FileStore(tmp_path / "store")
    with pytest.raises(ConfigError, match=re.escape("the manifest accepts ask.avsc, ask2.avsc")):
        packages.register(write(package, tmp_path / "late"), store)
    replace("golden.jsonl", '"score"', '"contract": "ask2.avsc", "score"', 7)(package)
    packages.register(write(package, tmp_path / "late"), store)
    assert 2 == len(packages.load(store, "late", "1").accepts)


@pytest.mark.parametrize(
    "naming",
    [
        {"key": ["tenant", "request_id"], "fields": [{"name": "tenant", "type": "string", "role": "tenant"}]},
        {"fields": [{"name": "tenant", "type": "string", "role": "tenant"}]},
    ],
    ids=["another key", "a tenant more"],
)
def test_accepted_contracts_name_requests_alike(tmp_path: Path, naming: dict[str, Any]) -> None:
    """One request under two contracts would lie under two keys or identities, and be scored twice."""
    second = json.loads(CONTRACT)
    second |= {**naming, "fields": [*second["fields"], *naming["fields"]]}
    accepts = '[[accepts]]\ncontract = "ask.avsc"'
    package = changed(replace("manifest.toml", accepts, accepts + '\n[[accepts]]\ncontract = "ask2.avsc"'))
    package["ask2.avsc"] = json.dumps(second).encode()
    with pytest.raises(ConfigError, match=r"ask\.avsc and ask2\.avsc differ in the record's key"):
        packages.register(write(package, tmp_path / "late"), FileStore(tmp_path / "store"))


def test_a_binary_answer_is_a_score_and_the_class_that_the_threshold_picks(tmp_path: Path) -> None:
    """A score at the threshold is positive."""
    answer = registered(tmp_path, files()).answer(np.array([0.5, 0.49999, 1.0]))
    assert [b"late", b"on_time", b"late"] == answer.label
    assert answer.score is not None
    assert (None, None) == (answer.scores, answer.value)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_a_multiclass_answer_is_all_scores_and_the_most_probable_class(tmp_path: Path, objective: str) -> None:
    """Of equal ones the first."""
    model = registered(tmp_path, multiclass_files(objective))
    scores = model.score(matrix(asked(50)))
    answer = model.answer(scores)
    assert scores is answer.scores
    assert [CLASSES[at].encode() for at in scores.argmax(axis=1)] == answer.label
    assert [b"on_time"] == model.answer(np.array([[0.2, 0.4, 0.4]])).label
    assert (None, None) == (answer.score, answer.value)


def test_a_regression_answer_is_a_value(tmp_path: Path) -> None:
    """And nothing else."""
    model = registered(tmp_path, regression_files())
    values = np.array([-3.5, 1e9])
    assert Answer(value=values) == model.answer(values)


@pytest.mark.parametrize(
    ("package", "old", "new", "problem"),
    [
        (multiclass_files, '"scores"', '"score"', "[scores] is missing; [score] is not known; did you mean `scores`?"),
        (multiclass_files, '"scores": [', '"scores": [0.5, ', "line 1: `scores` has 4 numbers, and the manifest 3 classes"),
        (multiclass_files, '"scores": [0.', '"scores": [1.', "golden.jsonl, line 1: expected [1."),
        (regression_files, '"value"', '"score"', "[value] is missing; [score] is not known; there are request, contract, value"),
        (regression_files, '"value": ', '"value": 9', "golden.jsonl, line 1: expected 9"),
    ],
)  # fmt: skip
def test_golden_rows_are_the_task_s(
    tmp_path: Path, package: Callable[[], dict[str, bytes]], old: str, new: str, problem: str
) -> None:
    """The error names the key that the task's rows have, and what is wrong with its numbers."""
    content = package()
    replace("golden.jsonl", old, new)(content)
    with pytest.raises(ConfigError) as raised:
        registered(tmp_path, content)
    assert problem in str(raised.value)


def registered(tmp_path: Path, content: dict[str, bytes]) -> packages.Loaded:
    store = FileStore(tmp_path / "store")
    packages.register(write(content, tmp_path / "package"), store)
    return packages.load(store, "late", "1")


def test_a_tolerance_lets_small_differences_pass(tmp_path: Path) -> None:
    """Without one, the next float64 is a difference."""
    line = json.loads(files()["golden.jsonl"].splitlines()[0])
    near = replace("golden.jsonl", repr(line["score"]), repr(float(np.nextafter(line["score"], 1))))
    store = FileStore(tmp_path / "store")
    with pytest.raises(ConfigError, match="1 of 40 rows differ"):
        packages.register(write(changed(near), tmp_path / "late"), store)
    package = changed(near)
    replace("manifest.toml", 'file = "golden.jsonl"', 'file = "golden.jsonl"\ntolerance = 1e-9')(package)
    packages.register(write(package, tmp_path / "late"), store)


def test_a_damaged_store_is_found_out_before_anything_is_opened(tmp_path: Path) -> None:
    """One flipped bit, a file more, or a file less: the digest tells, at load and when registering again."""
    store = FileStore(tmp_path / "store")
    folder = write(files(), tmp_path / "late")
    kept = tmp_path / "store" / "packages" / packages.register(folder, store).hex()
    model = (kept / "model.txt").read_bytes()
    for damage in (
        lambda: (kept / "model.txt").write_bytes(model.replace(b"leaf_value=-", b"leaf_value=+", 1)),
        lambda: (kept / "more.txt").write_bytes(b""),
        lambda: (kept / "model.txt").unlink(),
    ):
        damage()
        with pytest.raises(SetupError, match="changed or damaged"):
            packages.load(store, "late", "1")
        with pytest.raises(SetupError, match="changed or damaged"):
            packages.register(folder, store)
        (kept / "model.txt").write_bytes(model)
        (kept / "more.txt").unlink(missing_ok=True)
    assert digest(files()) == packages.load(store, "late", "1").digest


def test_a_name_that_stands_for_another_model_is_found_out(tmp_path: Path) -> None:
    """A store whose names were edited by hand does not answer with another model."""
    store = FileStore(tmp_path / "store")
    registered = packages.register(write(files(), tmp_path / "late"), store)
    store.claim("late", "2", registered.hex())
    with pytest.raises(SetupError, match="late 2 stands for a package of late 1"):
        packages.load(store, "late", "2")
