"""What the README shows is what there is."""

import re
from pathlib import Path

import pytest

from streams.config import Settings
from streams.demo.by_hand import CONSUME, PRODUCE
from streams.demo.stage import APP, TOPIC

BOOTSTRAP, REGISTRY = "127.0.0.1:19092", "http://127.0.0.1:18081/apis/ccompat/v7"
"""Where `make demo KEEP=1` puts them, if the ports are free."""
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_scripts_are_those_that_the_demo_leaves_and_its_test_runs() -> None:
    """`tests/demo` runs them against a stack that was kept; here they are shown word by word, addresses filled in."""
    filled = []
    for text in (PRODUCE, CONSUME):
        for mark, value in (("$bootstrap", BOOTSTRAP), ("$registry", REGISTRY), ("$requests", TOPIC), ("$app", APP)):
            text = text.replace(mark, value)
        filled.append(text)
    assert filled == blocks("python")


def test_the_configuration_is_one_that_loads() -> None:
    """Every key of the README's config is a key, and nothing is missing; with the labels' sections, too."""
    import tomllib

    config, labels = blocks("toml")
    settings = Settings.model_validate(tomllib.loads(config))
    assert "loans" == settings.app.id
    monitored = Settings.model_validate(tomllib.loads(config + labels))
    assert monitored.labels is not None
    assert monitored.labels.field == "defaulted"


@pytest.mark.parametrize("name", re.findall(r"`(test_[a-z0-9_]+)`", README))
def test_a_test_that_is_named_exists(name: str) -> None:
    """The guarantee table points at real tests."""
    assert any(f"def {name}(" in path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_a_link_leads_somewhere(target: str) -> None:
    """Relative links are files."""
    assert (ROOT / target).exists()


def test_the_make_targets_that_are_named_exist() -> None:
    """`make x` in the README is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def rows_of(text: str, head: str) -> list[list[str]]:
    """Return the cells of the table whose head begins so."""
    lines = text.split(f"| {head}", 1)[1].splitlines()[2:]
    table = lines[: next(at for at, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_what_is_said_of_false_tickets_and_delays_was_measured() -> None:
    """The README's two tables are rows of tests/monitor/drift/RESULTS.md, which its tests write."""
    measured = (ROOT / "tests" / "monitor" / "drift" / "RESULTS.md").read_text("utf-8").replace("%", " %")
    clean = [(row[2], row[4], row[5]) for row in rows_of(measured, "windows ")]
    told = [(row[1], row[2].removesuffix(" of windows"), row[3]) for row in rows_of(README, "clean windows: ")]
    assert clean[2] == clean[3], "single days and stretches of three are one row of the README"
    assert [*clean[:3], clean[4]] == told
    moved = [
        [row[2], row[4], f"{row[6]}, {row[7]}"]
        for row in rows_of(measured.replace("  %", " %"), "what moves ")
        if row[1] == "1,000"
    ]
    assert moved == [row[1:] for row in rows_of(README, "what moves ")]
