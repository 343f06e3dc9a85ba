"""Speed of ``cnnreg batch``: pairs a second, CPU seconds a pair, memory; beside the loop of single commands.

    python benchmarks/batch.py ../shared/data/cardiac_cine_mr --pairs 1000 --jobs 2

Times on a busy machine say little: CPU seconds a pair are printed beside them, and the loop runs just before.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPTIONS = ("--adapt", "50", "--no-picture")


def seconds_of(line: list[str]) -> tuple[float, float, float]:
    """Of a command: seconds by the clock, CPU seconds, and its peak memory in MB."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, after.ru_maxrss / 1024


def write_table(data: Path, count: int, path: Path) -> list[tuple[Path, Path]]:
    """So many pairs, the folder's own again and again."""
    with (data / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [(data.absolute() / r["fixed"], data.absolute() / r["moving"]) for r in rows]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pair_id", "fixed", "moving"])
        writer.writerows((f"p{n:05}", *pairs[n % len(pairs)]) for n in range(count))
    return pairs


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with pairs.csv")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--singles", type=int, default=3, help="pairs of the loop of single commands")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--init", default="auto")
    asked = parser.parse_args()
    cnnreg, options = [sys.executable, "-m", "cnnreg"], [*OPTIONS[:2], "--init", asked.init, "--threads", "1"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = write_table(asked.data, asked.pairs, folder / "pairs.csv")
        single = [
            seconds_of([*cnnreg, "register", *map(str, pair), "-o", str(folder / f"s{n}"), *options, OPTIONS[2]])
            for n, pair in enumerate(pairs[: asked.singles])
        ]
        wall, cpu = (sum(times) / len(single) for times in list(zip(*single, strict=True))[:2])
        print(f"loop of single commands: {wall:.2f} s a pair, {cpu:.2f} CPU s ({len(single)} pairs)")
        line = ["batch", str(folder / "pairs.csv"), "-o", str(folder / "out"), "--outputs", "warped,field"]
        took, used, memory = seconds_of([*cnnreg, *line, *options, "--jobs", str(asked.jobs)])
        each = took / asked.pairs
        print(
            f"batch, {asked.jobs} processes: {1 / each:.2f} pairs/s, {used / asked.pairs:.3f} CPU s a pair, "
            f"{memory:.0f} MB at most in a process ({asked.pairs} pairs); {wall / each:.1f} times the loop, "
            f"{cpu / (used / asked.pairs):.1f} times by CPU seconds"
        )


if __name__ == "__main__":
    main()
