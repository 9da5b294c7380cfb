"""The demo's data and model, made once for all of its tests."""

import time
from pathlib import Path
from typing import Any

import pytest

from streams import schemas_dir
from streams.demo import data
from streams.demo.train import Trained, train
from streams.models import packages
from streams.models.packages import Loaded
from streams.models.store import FileStore


@pytest.fixture(scope="session")
def contract_file() -> Path:
    return schemas_dir() / "flights" / "request.v1.avsc"


@pytest.fixture(scope="session")
def trained(contract_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    began = time.perf_counter()
    trained = train(contract_file, tmp_path_factory.mktemp("flights") / "package")
    print(f"trained on {trained.rows} flights in {time.perf_counter() - began:.1f} s: AUC {trained.auc:.4f}")
    return trained


@pytest.fixture(scope="session")
def model(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    store = FileStore(tmp_path_factory.mktemp("flights") / "store")
    packages.register(trained.folder, store)
    return packages.load(store, "flights-late", "1")


@pytest.fixture(scope="session")
def march() -> list[dict[str, Any]]:
    return data.requests(data.flights(3))
