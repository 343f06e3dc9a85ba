"""Split the two data sets of ``../shared/data`` by patient into training, validation and test tables.

    python benchmarks/train_models/make_tables.py ../shared/data TABLES

The split is drawn from a fixed seed: a quarter of the patients for the test, which nothing is ever tuned on, an eighth
for validation, the rest for training. Paths in the tables are absolute.
"""

import csv
import random
import sys
from pathlib import Path

SEED = 0


def split(patients: list[str]) -> dict[str, str]:
    """Patient -> part."""
    order = sorted(set(patients))
    random.Random(SEED).shuffle(order)
    test, validation = round(len(order) / 4), round(len(order) / 8)
    return {p: "test" if i < test else "val" if i < test + validation else "train" for i, p in enumerate(order)}


def make_tables(source: Path, name: str, key: str, files: list[str], target: Path) -> None:
    """Write ``name-train.csv``, ``name-val.csv`` and ``name-test.csv``."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    part = split([row[key] for row in rows])
    for which in ("train", "val", "test"):
        chosen = [row for row in rows if part[row[key]] == which]
        with (target / f"{name}-{which}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in chosen:
                writer.writerow(row | {f: (source.parent / row[f]).resolve() for f in files})
        print(f"{name}-{which}: {len(chosen)} rows, {len({row[key] for row in chosen})} patients")


if __name__ == "__main__":
    data, tables = Path(sys.argv[1]), Path(sys.argv[2])
    tables.mkdir(parents=True, exist_ok=True)
    mr = ["fixed", "moving", "seg_fixed", "seg_moving"]
    make_tables(data / "cardiac_cine_mr" / "pairs.csv", "cardiac-cine-mr", "patient", mr, tables)
    make_tables(data / "chest_xray" / "images.csv", "chest-xray", "image_id", ["image", "seg"], tables)
