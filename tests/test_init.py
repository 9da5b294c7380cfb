"""`streams init`: a folder that is whole, whatever the application is called, and whose model is what its script makes."""

import importlib.metadata
import json
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams import dev, init
from streams.avro.properties import check_contract
from streams.avro.schema import parse
from streams.cli import main
from streams.config import BatchLimits, Dedupe, Limits, Requests, Settings, load
from streams.dev import apicurio
from streams.dev.ports import HOST
from streams.models import manifest, reference, rows
from streams.models.features import Features
from streams.models.packages import checked, describe, register
from streams.models.store import open_store
from streams.monitor.drift.watch import watches
from tests.test_readme import ROOT, blocks

TEMPLATE = ROOT / "streams" / "init" / "template"
APPS = ["loans", "home-loans", "3d.print_shop-", "a" * 56]
LIGHTGBM = re.search(r"^lightgbm==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    init.write("loans", tmp_path / "loans")
    return tmp_path / "loans"


@pytest.mark.parametrize("app", APPS)
def test_the_folder_is_whole(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, contract and package pass our own checks as they are; every name is the application's."""
    monkeypatch.chdir(tmp_path)
    assert 0 == main(["init", app])
    folder = tmp_path / app
    settings = load(folder / f"{app}.toml")
    (lane,) = settings.requests
    assert (app, f"{app}.requests.live") == (settings.app.id, lane.topic)
    contract = parse(lane.contract.read_text())
    assert [] == check_contract(contract)
    model = checked(folder / "package", open_store(settings.model.store))
    assert (settings.model.name, settings.model.version) == (model.name, model.version)
    assert [contract.fingerprint] == [accepted.fingerprint for accepted in model.accepts]
    others = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file() and path.name != "model.txt"}
    assert not [name for name, text in others.items() if "$" in text]


def test_every_file_of_the_template_is_written_and_told(tmp_path: Path) -> None:
    """Nothing lies about that nobody gets, and what a person is told is what is there."""
    told = init.write("loans", tmp_path / "loans")
    written = sorted(str(path) for path in (tmp_path / "loans").rglob("*") if path.is_file())
    assert written == sorted(line.strip() for line in told[: told.index("")])
    files = {path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == set(init.FILES.values())


def test_names_follow_avro_s_rules() -> None:
    """Whatever an application may be called, its record has a name and a namespace."""
    found = {app: (init.record(app), init.namespace(app)) for app in APPS}
    assert ("LoansRequest", "loans") == found["loans"]
    assert ("HomeLoansRequest", "home_loans") == found["home-loans"]
    assert ("_3dPrintShopRequest", "_3d_print_shop") == found["3d.print_shop-"]


@pytest.mark.parametrize("app", ["", "Loans", "-loans", "loans/..", "a" * 57, "lo ans", "lo\n"])
def test_what_is_no_application_id_is_refused(app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is written."""
    assert 2 == main(["init", "--dir", str(tmp_path / "x"), "--", app])
    assert "is no application id" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten(loans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds anything is left as it is, and another place is named; an empty one will do."""
    (loans / "train.py").write_text("mine")
    before = {path: path.read_bytes() for path in loans.rglob("*") if path.is_file()}
    for place in (loans, loans / "train.py"):
        assert 2 == main(["init", "loans", "--dir", str(place)])
        assert "--dir" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in loans.rglob("*") if path.is_file()}
    (tmp_path / "empty").mkdir()
    assert 0 == main(["init", "loans", "--dir", str(tmp_path / "empty")])
    assert 4 == main(["init", "loans", "--dir", str(loans / "train.py" / "x")])
    assert "--dir" in capsys.readouterr().err


def test_the_readme_shows_the_configuration_that_init_writes(loans: Path) -> None:
    """The same keys and values, without the comments; the labels' sections are commented out."""
    shown, labels = blocks("toml")
    text = (loans / "loans.toml").read_text()
    assert tomllib.loads(shown) == tomllib.loads(text)
    commented = text[text.index("# [labels]") : text.index("# [dedupe]")]
    written = tomllib.loads(re.sub(r"^# ", "", commented, flags=re.MULTILINE))
    del written["monitor"]["port"]
    assert tomllib.loads(labels) == written


def test_the_label_contract_may_be_registered(loans: Path) -> None:
    """With the sections that are commented out it is a contract of labels, about what the model's classes are."""
    contract = parse((loans / "schemas" / "label.v1.avsc").read_text())
    assert [] == check_contract(contract, labels=True)
    assert {"is the version", "is the withdrawn"} == {
        " ".join(line.split(",")[0].split()[-3:]) for line in check_contract(contract)
    }
    assert contract.field("defaulted") is not None


def test_it_works_with_the_local_stack_as_it_is(loans: Path) -> None:
    """`streams dev up` and nothing to edit: the addresses are where it puts broker and registry by default."""
    settings = load(loans / "loans.toml")
    assert f"{HOST}:{dev.BROKER_PORT}" == settings.kafka["bootstrap.servers"]
    assert apicurio.url(dev.REGISTRY_PORT) == settings.schema_registry["url"]


def test_what_is_commented_out_is_what_holds_without_it(loans: Path) -> None:
    """Each such line is a key with its default, so that nobody is told of a key that there is not."""
    commented = (loans / "loans.toml").read_text().partition("# [metrics]")[0]
    settings = Settings.model_validate(tomllib.loads(re.sub(r'^# (?=["\[]|\w+ = )', "", commented, flags=re.MULTILINE)))
    assert (Dedupe(), BatchLimits(), Limits()) == (settings.dedupe, settings.batch, settings.limits)
    assert {"dedupe", "batch", "limits"} <= settings.model_fields_set
    (lane,) = settings.requests
    assert Requests.model_fields["retention_hours"].default == lane.retention_hours
    assert {"sasl.username", "sasl.password"} < set(settings.kafka)


@pytest.mark.parametrize(
    "written",
    [
        '"sasl.username" = "me"\n"sasl.password_file" = "secret"\n"ssl.ca.location" = "ca.pem"',
        'sasl.username = "me"\nsasl.password_env = "KAFKA_PASSWORD"\nssl.ca.location = "not here"',
        'sasl.password = "overlaid"',
    ],
)
def test_the_scripts_read_their_settings_as_the_product_does(
    loans: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys with and without quotes, secrets from files and variables, the environment over all of it."""
    (loans / "secret").write_text("hunter2\n\n")
    (loans / "ca.pem").write_text("")
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter3\n")
    if "overlaid" in written:
        monkeypatch.setenv("STREAMS__KAFKA__SASL__PASSWORD_FILE", "secret")
        monkeypatch.setenv("STREAMS__SCHEMA_REGISTRY__URL", "http://elsewhere:1")
    path = loans / "loans.toml"
    path.write_text(path.read_text().replace("[kafka]  #", f"[kafka]\n{written}\n#"))
    clients = runpy.run_path(str(loans / "clients.py"))["settings"]
    ours = load(path)
    assert {**ours.kafka} == clients("kafka")
    assert {**ours.schema_registry} == clients("schema_registry")
    assert clients("kafka")["sasl.password"] in ("hunter2\n", "hunter3")


MADE = ("model.txt", "golden.jsonl", "reference.json")
"""What `train.py` writes into the package."""


def golden(folder: Path) -> list[dict[str, Any]]:
    """Return the golden rows of a package."""
    return [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the package as it is shipped, and as its `train.py` makes it."""
    shipped, folder = (tmp_path_factory.mktemp("init") / name for name in ("shipped", "loans"))
    init.write("loans", folder)
    shutil.copytree(folder / "package", shipped)
    for name in MADE:
        (folder / "package" / name).unlink()
    ran = subprocess.run(
        [sys.executable, str(folder / "train.py")], check=True, timeout=60, capture_output=True, text=True
    )
    (folder / "said").write_text(ran.stdout)
    return shipped, folder / "package"


def test_what_train_makes_is_what_is_shipped(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """The same requests and, to the last digits, the same scores, on any machine; and it can be registered."""
    shipped, made = trained
    checked(made, open_store(tmp_path.as_uri()))
    assert [row["request"] for row in golden(shipped)] == [row["request"] for row in golden(made)]
    assert [row["score"] for row in golden(shipped)] == pytest.approx([row["score"] for row in golden(made)], abs=1e-6)


@pytest.mark.skipif(
    LIGHTGBM is None
    or importlib.metadata.version("lightgbm") != LIGHTGBM[1]
    or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="other releases and processors round otherwise",
)
def test_it_is_the_same_to_the_byte_where_it_was_made(trained: tuple[Path, Path]) -> None:
    """If this fails: run `streams init loans` and its train.py, and copy these files into streams/init/template/package."""
    shipped, made = trained
    for name in MADE:
        assert (shipped / name).read_bytes() == (made / name).read_bytes(), name


def test_what_the_training_set_looked_like_can_be_watched(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Days enough that every feature is tested; and so much is allowed as the manifest's comment says."""
    shipped, made = trained
    store = open_store(tmp_path.as_uri())
    register(shipped, store)
    about, _, hashed = describe(store, "loans-default", "1")
    assert hashed is not None
    again = reference.parse((made / "reference.json").read_bytes(), about.columns, "reference.json")
    assert hashed.reference.blocks == again.blocks
    found = watches(about.columns, hashed.reference)
    assert [None] * 5 == [watch.why for watch in found]
    assert (28, 4_000) == (len(again.blocks), sum(block.rows for block in again.blocks))
    said = re.search(r"wrong about ([0-9.]+)%", (made.parent / "said").read_text())
    assert said is not None
    assert about.risk is not None
    assert about.risk.allowed == pytest.approx(1.25 * float(said[1]) / 100, abs=1e-3)


def test_its_cells_are_those_that_requests_are_counted_in(trained: tuple[Path, Path]) -> None:
    """The script knows nothing of ours, and counts as we do; sums of positions it leaves out."""
    _, made = trained
    about = manifest.parse((made / "manifest.toml").read_bytes())
    requests, contract = applications(made.parent), parse((made / "request.v1.avsc").read_text())
    rows_ = np.arange(len(requests))
    matrix, _ = Features(about.features, [contract]).matrix(rows.decoded(contract, requests), contract, rows_)
    times = np.array([request["event_time"] for request in requests])
    ours = reference.measure(about.columns, matrix, times, block_ms=86_400_000)
    theirs = reference.parse((made / "reference.json").read_bytes(), about.columns, "reference.json")
    alike = tuple(histogram.model_copy(update={"sums": None}) for histogram in ours.features)
    assert theirs == ours.model_copy(update={"features": alike})


def applications(folder: Path) -> list[dict[str, Any]]:
    """Return the requests that `train.py` trains with."""
    module = runpy.run_path(str(folder / "train.py"))
    requests: list[dict[str, Any]] = module["applications"](module["ROWS"])[0]
    return requests


def test_golden_rows_would_show_a_swapped_category(loans: Path) -> None:
    """Every category and a missing number occur, with scores that differ."""
    rows = golden(loans / "package")
    features = manifest.parse((loans / "package" / "manifest.toml").read_bytes()).features
    (purpose,) = [feature for feature in features if feature.kind == "category"]
    assert set(purpose.categories) == {row["request"]["purpose"] for row in rows}
    assert any(row["request"]["income"] is None for row in rows)
    assert len(rows) / 2 < len({row["score"] for row in rows})
