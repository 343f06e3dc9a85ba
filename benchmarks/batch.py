"""Speed of ``cnnreg batch``: pairs a second, CPU seconds a pair, memory; beside commands that register one pair each.

    python benchmarks/batch.py ../shared/data/cardiac_cine_mr --pairs 1000 --singles 20

The other commands, on the same pairs in the same run: ``cnnreg register``, one after the other; and ``elastix`` with
``transformix`` (Debian's packages) and greedy (``pip install picsl_greedy`` in the environment of ``--greedy PYTHON``,
which has no program of that name but the same engine), as many at a time as there are processes of the batch, one
thread each. Every one of them writes a field and a warped image. Times on a busy machine say little: CPU seconds a pair
are printed beside them.
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

Pair = tuple[Path, Path]
CNNREG = (sys.executable, "-m", "cnnreg")
OPTIONS = ("--adapt", "50", "--threads", "1")
ELASTIX = """
(FixedInternalImagePixelType "float") (MovingInternalImagePixelType "float")
(FixedImageDimension 2) (MovingImageDimension 2)
(Registration "MultiMetricMultiResolutionRegistration")
(FixedImagePyramid "FixedSmoothingImagePyramid") (MovingImagePyramid "MovingSmoothingImagePyramid")
(Interpolator "LinearInterpolator") (ResampleInterpolator "FinalBSplineInterpolator") (Resampler "DefaultResampler")
(Metric "AdvancedMattesMutualInformation" "TransformBendingEnergyPenalty") (Metric0Weight 1.0) (Metric1Weight 1.0)
(Optimizer "AdaptiveStochasticGradientDescent") (Transform "BSplineTransform") (HowToCombineTransforms "Compose")
(NumberOfResolutions 4) (MaximumNumberOfIterations 256) (FinalGridSpacingInPhysicalUnits 16)
(AutomaticScalesEstimation "true") (ImageSampler "RandomCoordinate")
(NumberOfSpatialSamples 2048) (NewSamplesEveryIteration "true")
(NumberOfHistogramBins 32) (WriteResultImage "true") (ResultImageFormat "mha") (ResultImagePixelType "unsigned char")
"""  # elastix' default B-spline parameter map
GREEDY = """
import sys, picsl_greedy
fixed, moving, out = sys.argv[1:]
tool = picsl_greedy.Greedy2D()
tool.execute(f"-d 2 -threads 1 -m NCC 4x4 -i {fixed} {moving} -n 100x50x20 -s 2.0vox 0.5vox -o {out}/field.mha -V 0")
tool.execute(f"-d 2 -threads 1 -rf {fixed} -rm {moving} {out}/warped.mha -r {out}/field.mha -V 0")
"""


@dataclass(frozen=True)
class Cost:
    """Of so many pairs: seconds by the clock, and of all cores."""

    pairs: int
    wall: float
    cpu: float

    def row(self, name: str, batch: "Cost") -> str:
        """Of the table."""
        times = (
            (self.wall / self.pairs) / (batch.wall / batch.pairs),
            (self.cpu / self.pairs) / (batch.cpu / batch.pairs),
        )
        told = f"{self.pairs / self.wall:.2f} | {self.cpu / self.pairs:.2f} | {times[0]:.1f} | {times[1]:.1f}"
        return f"| {name} | {self.pairs} | {told} |"


def cost_of(pairs: int, work: Callable[[], object]) -> Cost:
    """Of what ``work`` makes child processes do."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(pairs, time.perf_counter() - start, cpu)


def call(*words: object) -> None:
    """A command that must go well."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )


def one_by_one(pairs: list[Pair], out: Path, jobs: int, command: Callable[[Pair, Path], object]) -> Cost:
    """A command for each pair, into a folder of its own, ``jobs`` at a time."""
    out.mkdir()
    folders = [out / str(n) for n in range(len(pairs))]

    def run() -> None:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(command, pairs, folders))

    return cost_of(len(pairs), run)


def by_cnnreg(pair: Pair, out: Path) -> None:
    """``cnnreg register``."""
    call(*CNNREG, "register", *pair, "-o", out, *OPTIONS, "--no-picture", "-q")


def by_elastix(pair: Pair, out: Path) -> None:
    """The field comes from transformix."""
    out.mkdir()
    (out / "parameters.txt").write_text(ELASTIX.replace(") (", ")\n("))
    call("elastix", "-f", pair[0], "-m", pair[1], "-p", out / "parameters.txt", "-out", out, "-threads", 1)
    call("transformix", "-def", "all", "-tp", out / "TransformParameters.0.txt", "-out", out, "-threads", 1)


def by_greedy(python: str) -> Callable[[Pair, Path], None]:
    """With the Python that has it."""

    def command(pair: Pair, out: Path) -> None:
        out.mkdir()
        call(python, "-c", GREEDY, *pair, out)

    return command


def resident(parent: int) -> float:
    """MB of the largest child of a process (Linux)."""
    sizes = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(facts["PPid"]) == parent and "VmRSS" in facts:
            sizes.append(int(facts["VmRSS"].split()[0]) // 1024)
    return max(sizes)


def run_batch(table: Path, out: Path, jobs: int, memory: dict[int, float]) -> None:
    """``cnnreg batch``; ``memory`` takes MB of the largest process by the number of pairs that are done."""
    line = [*CNNREG, "batch", table, "-o", out, "--outputs", "warped,field", *OPTIONS, "--jobs", jobs]
    with subprocess.Popen([*map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(3):
                memory[sum(1 for _ in out.glob("*/status.json"))] = resident(process.pid)

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        ended.set()
        watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)


def write_table(data: Path, count: int, path: Path) -> list[Pair]:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pairs.csv")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--singles", type=int, default=20, help="pairs of each of the other commands")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--greedy", default="", help="a Python in which picsl_greedy is installed")
    asked = parser.parse_args()
    memory: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = write_table(asked.data, asked.pairs, folder / "pairs.csv")
        sample = pairs[:: max(len(pairs) // asked.singles, 1)][: asked.singles]
        loop = one_by_one(sample, folder / "loop", 1, by_cnnreg)
        batch = cost_of(asked.pairs, lambda: run_batch(folder / "pairs.csv", folder / "out", asked.jobs, memory))
        marks = sorted(memory)
        told = {n: memory[n] for n in marks[:: max(len(marks) // 12, 1)]}
        print("MB of the largest process after so many pairs:", told)
        print(
            "| | pairs | pairs/s | CPU s a pair | times the batch's time | times its CPU |\n|---|---|---|---|---|---|"
        )
        print(batch.row(f"cnnreg batch --jobs {asked.jobs}", batch), flush=True)
        print(loop.row("cnnreg register, one after the other", batch), flush=True)
        others = {"elastix and transformix": by_elastix} if shutil.which("elastix") else {}
        others |= {"greedy": by_greedy(asked.greedy)} if asked.greedy else {}
        for title, command in others.items():
            cost = one_by_one(sample, folder / title.split()[0], asked.jobs, command)
            print(cost.row(f"{title}, {asked.jobs} at a time", batch), flush=True)


if __name__ == "__main__":
    main()
