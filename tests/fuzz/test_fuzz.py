"""Millions of mutations in children with little memory: no death, no verdict that differs, no neighbour touched."""

import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults.attack import sizes
from tests.fuzz.child import Died, run

SHARE = 250_000
"""Mutations a child: a fresh one, with a fresh seed, takes the next."""


@sizes("mutations", 50_000, 10_000_000, 3_000)
def test_mutations(mutations: int, tmp_path: Path, seed: int, result: Callable[..., None]) -> None:
    """The strict reader, which sees each datum alone, decides what is right."""
    begun, children = time.monotonic(), max(1, mutations // SHARE)

    def child(number: int) -> Any:
        folder = tmp_path / str(number)
        folder.mkdir()
        return run("tests.fuzz.fuzz", folder, 900.0, seed=seed + number, mutations=mutations // children)

    with ThreadPoolExecutor(os.cpu_count() if children > 1 else 1) as pool:
        told = list(pool.map(child, range(children)))
    verdicts: Counter[str] = Counter()
    for one in told:
        verdicts.update(one["verdicts"])
    assert verdicts.total() >= mutations
    result(
        "hostile bytes",
        f"{verdicts.total():,} mutated datums of {sum(one['rounds'] for one in told):,} rounds of schemas, half of them random",
        f"{len(verdicts)} kinds of verdict, in {children} children with 512 MiB of room",
        f"0 deaths, 0 verdicts that differ from the strict reader's, 0 neighbours touched; {time.monotonic() - begun:,.0f} s, "
        f"largest child {max(one['peak_mib'] for one in told):.0f} MiB",
    )


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("bytes are left over", "AssertionError: row"),
        ("the boolean is neither 0 nor 1", "AssertionError: row"),
        ("death", "exit code -11"),
    ],
)
def test_a_lenient_decoder_is_found(check: str, words: str, tmp_path: Path, seed: int) -> None:
    """With one check off the first difference is told with its datum, and a death with the seed it was working on."""
    with pytest.raises(Died, match=words) as died:
        run("tests.fuzz.fuzz", tmp_path, 60.0, seed=seed, mutations=40_000, without=check)
    assert check == "death" or f"seed {seed}" in str(died.value)
