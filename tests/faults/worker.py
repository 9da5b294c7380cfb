"""A worker as the product has it, with patches: `python -m tests.faults.worker NAME[,NAME...] CONFIG SLOT [KIND]`.

A name is a mutant's or an instrument's: see `mutants.py` and `instruments.py`.
"""

import os
import sys
from pathlib import Path

from streams import worker
from tests.faults.instruments import INSTRUMENTS
from tests.faults.mutants import MUTANTS

if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        (INSTRUMENTS | MUTANTS)[name]()
    kind = sys.argv[4] if len(sys.argv) > 4 else "scorer"
    code = worker.main(kind, Path(sys.argv[2]), sys.argv[3])
    sys.stderr.flush()
    os._exit(code)
