"""Every case of a folder of situations that other tools' users ran into, each with a known right answer.

    python benchmarks/cases.py ../shared/cases --out cases
    git archive COMMIT | tar x -C older && PYTHONPATH=older python benchmarks/cases.py ../shared/cases --out before
    python benchmarks/cases.py ../shared/cases --out cases --before before.csv     # both in one table

A case is a folder with images, a command and what is right. Each command runs in this process, on one thread, on a copy
of the case. Writes OUT.csv and OUT.md: what was found, and whether that is right. "Traceback" where
the program fell over, and the sentence where it refused.
"""

import argparse
import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from case_figures import CASES, Bench


def results(cases: Path, only: list[str]) -> Iterator[dict[str, str]]:
    for name, variant, right, look in CASES:
        if only and not any(name.startswith(start) for start in only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for each in {name, "17-overwrite-deletes"}:
                shutil.copytree(cases / each, Path(folder, each))
            try:
                found, good = look(Bench(Path(folder, name)))
            except (KeyError, OSError, ValueError, RuntimeError) as error:  # nothing was written
                found, good = f"nothing ({type(error).__name__})", False
        yield {
            "case": name,
            "variant": variant,
            "right": right,
            "found": found,
            "good": "yes" if good else "no",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.md and OUT.csv go")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names begin like this")
    parser.add_argument("--before", type=Path, help="the CSV of an earlier run, for a column of its own")
    options = parser.parse_args()
    earlier = {}
    if options.before:
        with options.before.open(newline="") as file:
            earlier = {(row["case"], row["variant"]): row["found"] for row in csv.DictReader(file)}
    rows = []
    for row in results(options.cases.absolute(), options.only):
        rows.append(row)
        print(" | ".join(row.values()), flush=True)
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| case | right | before | now | |", "|---|---|---|---|---|"]
    for row in rows:
        name = f"{row['case']}{', ' * bool(row['variant'])}{row['variant']}"
        before = earlier.get((row["case"], row["variant"]), "")
        mark = "" if row["good"] == "yes" else "not yet"
        lines.append(f"| {name} | {row['right']} | {before} | {row['found']} | {mark} |".replace(" |  |", " | |"))
    options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
