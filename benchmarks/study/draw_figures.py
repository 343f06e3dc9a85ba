"""Draw the figures of docs/study.md anew from the committed results of the studies; nothing is registered.

python benchmarks/study/draw_figures.py [FOLDER]    # docs by default
"""

import csv
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from cnnreg.study.cases import all_cases
from cnnreg.study.figure import draw
from cnnreg.study.summary import Table

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"cardiac": "cardiac-cine-mr", "chest": "chest-xray"}


def table_of(path: Path) -> Table:
    """Results of a study by pair and case."""
    results: dict[tuple[int, str], dict[str, float | None]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            results[int(row["pair"]), row["case"]][row["measure"]] = float(row["value"]) if row["value"] else None
    return Table(dict(results), all_cases(), [""] * max(pair for pair, _ in results))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    for name, other in (("cardiac", "chest"), ("chest", "cardiac")):
        table = table_of(ROOT / "benchmarks" / "results" / f"study-{name}.csv")
        with tempfile.TemporaryDirectory(dir=folder) as drawn:
            for path in draw(table, f"{NAMES[name]} (target), with {NAMES[other]} as source", Path(drawn)):
                print(path.replace(folder / f"study-{name}{path.suffix}"))


if __name__ == "__main__":
    main()
