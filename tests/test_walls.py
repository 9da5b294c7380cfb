"""The rooms of the house: which may import which, and that the pure ones are pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "streams"

HALL = {
    "records", "reasons", "errors", "ports", "config", "contracts", "dedupe", "frames", "headers", "packed", "packs",
    "complaints",    "durations", "layers", "masking", "__init__",
}  # fmt: skip
"""Top-level files that every room may import; they import only each other."""
MAY: dict[str, set[str]] = {
    "hall": {"hall"},
    "pipeline": {"hall", "pipeline", "avro"},
    "avro": {"hall", "avro"},
    "models": {"hall", "models", "avro"},
    "state": {"hall", "state"},
    "kafka": {"hall", "kafka"},
    "recovery": {"hall", "pipeline"},
    "loop": {"hall", "pipeline", "recovery"},
    "scoring": {"hall", "pipeline"},
    "rekeying": {"hall", "pipeline"},
    "supervisor": {"hall", "slots", "suspects"},
    "suspects": {"hall"},
    "metrics": {"hall", "metrics"},
    "verify": {"hall", "verify", "avro", "kafka", "registering", "topics", "monitor", "parts"},
    "init": {"hall", "init"},
    "monitor": {"hall", "monitor", "pipeline", "avro", "models"},
    "monitoring": {"hall", "monitor", "pipeline"},
    "edge": {"hall", "edge", "avro", "kafka", "slots"},
}
"""What each room may import; the files named after commands wire everything and are not listed."""
OWNERS: dict[str, set[str]] = {
    "fastavro": {"avro"},
    "rocksdict": {"state"},
    "confluent_kafka": {"kafka"},
    "lightgbm": {"models", "demo"},
    "onnxruntime": {"models"},
    "polars": {"demo"},
    "prometheus_client": {"metrics"},
    "typer": {"cli"},
    "scipy": {"monitor"},
    "matplotlib": {"plotting"},
    "faust": {"edge"},
    "mode": {"edge"},
    "aiokafka": {"edge"},
    "aiohttp": {"edge"},
}
"""The only rooms that may import a library."""
SCHEMA_REGISTRY_CLIENT = "avro/registry_client.py"
"""The one file outside `kafka/` that may import confluent_kafka.schema_registry."""
PURE = ["pipeline", "dedupe", "durations", "frames", "packs", "headers", "complaints", "layers", "masking", "records", "reasons", "contracts", "recovery", "loop", "scoring", "rekeying", "suspects", "monitor", "monitoring"] + [
    f"avro/{name}" for name in ("schema", "properties", "json_values", "decode", "cursor", "bits", "checks", "canonical")
] + [f"avro/{name}" for name in ("rules", "encode", "scatter", "evolution", "acceptance")] + ["models/features", "models/rows", "models/external_data", "models/binning", "models/reference"] + [
    "showing", "doctor/findings", "doctor/clock"] + [
    f"verify/{name}" for name in ("book", "ledger", "conservation", "identities", "report", "labels", "copies")
] + [
    f"metrics/{name}" for name in ("catalogue", "figures", "health", "exposition")
]  # fmt: skip
IMPURE = {"time", "random", "os", "secrets", "socket", "subprocess", "threading", "pathlib", "uuid", "tempfile"}
"""Clocks, randomness, environment, files, network. The loop may be *given* a clock: it names `time.monotonic` once."""


TEMPLATE = "init/template/"
"""Scripts that `streams init` writes: they run in other places, and know nothing of ours."""


def files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the package with its path inside it."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(TEMPLATE):
            yield name, path


def room(name: str) -> str:
    """Return the room of a file or module path like `avro/decode.py` or `avro/decode`."""
    head = name.removesuffix(".py").split("/")[0]
    return "hall" if head in HALL else head


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong(name: str, path: Path) -> list[str]:
    """Return what a file imports that it must not."""
    here, complaints = room(name), []
    for module in imports(path):
        library, _, rest = module.partition(".")
        owners = OWNERS.get(library, {here})
        allowed = here in owners or (
            name == SCHEMA_REGISTRY_CLIENT and (rest.startswith("schema_registry") or module == "confluent_kafka")
        )
        if not allowed:
            complaints.append(f"{name} imports {module}")
        if library == "streams" and rest and here in MAY:
            target = rest.replace(".", "/")
            known = (ROOT / f"{target}.py").exists() or (ROOT / target).is_dir()
            if known and room(target) not in MAY[here]:
                complaints.append(f"{name} imports {module}")
    return complaints


def test_every_arrow_points_the_right_way() -> None:
    """No room imports one that it must not know, and each client library has one owner."""
    assert [] == [complaint for name, path in files() for complaint in wrong(name, path)]


@pytest.mark.parametrize("name", PURE)
def test_the_pure_rooms_are_pure(name: str) -> None:
    """No clock, randomness, environment, file or network; the same input gives the same output for ever."""
    paths = sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / f"{name}.py"]
    assert all(path.exists() for path in paths)
    for path in paths:
        found = {module.partition(".")[0] for module in imports(path)} & IMPURE
        assert found == ({"time"} if name == "loop" else set()), f"{path.name} imports {found}"
        tree = ast.walk(ast.parse(path.read_text()))
        assert not [n for n in tree if isinstance(n, ast.Attribute) and n.attr in ("now", "today", "utcnow")], path.name
        opens = [
            n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name) and n.id in ("open", "input")
        ]
        assert not opens, f"{path.name} opens something"


def test_what_init_writes_knows_nothing_of_ours() -> None:
    """Producers and consumers of an application have no answeronce installed."""
    scripts = sorted((ROOT / TEMPLATE).glob("*.py"))
    assert ["clients.py", "consume.py", "label.py", "produce.py", "train.py"] == [path.name for path in scripts]
    assert not [module for path in scripts for module in imports(path) if module.partition(".")[0] == "streams"]


def test_the_walls_would_notice(tmp_path: Path) -> None:
    """A file that imports across a wall is named."""
    path = tmp_path / "decode.py"
    path.write_text("import fastavro\nfrom confluent_kafka import Consumer\nfrom streams.kafka.sink import KafkaSink\n")
    found = wrong("avro/decode.py", path)
    assert any("confluent_kafka" in complaint for complaint in found)
    assert any("streams.kafka.sink" in complaint for complaint in found)
    assert not any("fastavro" in complaint for complaint in found)
