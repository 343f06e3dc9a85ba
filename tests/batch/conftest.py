"""Tables of small pairs that are registered in a blink."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import smooth_pair, write_png

QUICK = ("--model", "none", "--adapt", 2, "--init", "none", "--threads", 1)


def write_table(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """A CSV file with the columns of the first row."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_summary(folder: Path) -> dict[str, dict[str, str]]:
    """``summary.csv`` by pair."""
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["pair_id"]: row for row in csv.DictReader(file)}


def results(folder: Path) -> dict[str, bytes]:
    """Fields and warped images of every pair: what must be the same bytes however they were computed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.suffix in {".mha", ".png"}}


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """``table(n)`` is the file of a table of n pairs, of which every one has images of its own up to the fifth."""

    def make(count: int, name: str = "pairs.csv") -> Path:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for seed in range(min(count, 5)):
            fixed, moving = smooth_pair(seed=seed)
            write_png(folder / f"f{seed}.png", fixed)
            write_png(folder / f"m{seed}.png", moving)
        rows = [
            {"pair_id": f"p{n}", "fixed": f"images/f{n % 5}.png", "moving": f"images/m{n % 5}.png"}
            for n in range(count)
        ]
        return write_table(tmp_path / name, rows)

    return make


def spoil(path: Path) -> None:
    """Make an image unreadable."""
    path.write_bytes(np.random.default_rng(0).bytes(100))
