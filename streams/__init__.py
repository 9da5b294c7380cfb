"""answeronce: every request on a Kafka topic answered exactly once, with a prediction or a refusal that says why."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("answeronce")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


def schemas_dir() -> Path:
    """Return the folder of the product's contracts: inside an installed wheel, or beside the package in a checkout."""
    installed = Path(__file__).parent / "schemas"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "schemas"
