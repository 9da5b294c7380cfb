"""Every kind of model behind the real broker: each answers in the fields of its task, and `verify` finds all right."""

from pathlib import Path
from typing import Any

import numpy as np

from streams.avro.schema import parse
from streams.dev import Stack
from streams.models import packages, rows
from streams.models.store import open_store
from streams.verify import verify
from tests.integration.application import Application
from tests.models import small_packages

FIELDS = {"multiclass": {"scores", "label"}, "regression": {"value"}, "onnx": {"score", "label"}}


def test_every_kind_of_model_answers(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Multiclass, regression and ONNX, side by side: what is answered is what the package says offline of each request."""
    content = {
        "multiclass": small_packages.multiclass_files(),
        "regression": small_packages.regression_files(),
        "onnx": small_packages.onnx_files(),
    }
    applications: dict[str, Application] = {}
    try:
        for kind, files in content.items():
            (tmp_path / kind).mkdir()
            app = applications[kind] = Application(stack, f"{unique}-{kind}", tmp_path / kind, model=files)
            app.start()
        requests = small_packages.asked(200, seed=5)
        for app in applications.values():
            app.send((row["request_id"].encode(), app.value(**row)) for row in requests)
        for kind, app in applications.items():
            app.drained()
            answers = {answer["request_id"]: answer for answer in app.terminals()}
            right(app, requests, [answers[row["request_id"]] for row in requests], FIELDS[kind])
            report = verify(app.settings)
            assert report.exit_code == 0, "\n".join(report.lines())
    finally:
        for app in applications.values():
            app.stop()


def right(app: Application, requests: list[dict[str, Any]], answers: list[dict[str, Any]], fields: set[str]) -> None:
    """Each answer has what the package says offline, in these fields only: the same bits where the flavor promises them."""
    model = packages.load(open_store(app.settings.model.store), "late", "1")
    decoded = rows.decoded(parse(small_packages.CONTRACT), requests)
    matrix, _ = model.features(decoded, model.accepts[0], np.arange(len(requests)))
    for field, column in model.answer(model.score(matrix))._asdict().items():
        given = [answer[field] for answer in answers]
        assert (field in fields) == (column is not None)
        if column is None:
            assert [None] * len(requests) == given
        elif field == "label":
            assert [name.decode() for name in column] == given
        else:
            assert np.abs(np.array(given) - column).max() <= (0 if model.row_deterministic else 1e-6)
