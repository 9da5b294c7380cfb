"""What a worker's process is, before it reaches a broker."""

import subprocess
import sys


def test_a_restart_waits_for_no_library_that_a_worker_does_not_use() -> None:
    """LightGBM would import pandas, which is there for the demo's data; another process of ours may still use it."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from streams import worker\n"
        "assert worker.main('scorer', Path('missing.toml'), 't-00') == 2\n"
        "from streams.models.lightgbm import require\n"
        "require()\n"
        "sys.exit(any(name.startswith('pandas.') for name in sys.modules))\n"
    )
    assert 0 == subprocess.run([sys.executable, "-c", script], check=False).returncode
    script = script.replace("assert worker.main('scorer', Path('missing.toml'), 't-00') == 2\n", "")
    assert 1 == subprocess.run([sys.executable, "-c", script], check=False).returncode, "it is not there at all"
