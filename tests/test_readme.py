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
