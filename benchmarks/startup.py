"""What starting costs: CPU seconds of whole processes, beyond those of ``import torch``, taken in turns.

    python benchmarks/startup.py [FIXED MOVING] [--rounds 9] [--out startup.json]

Without images a pair of 256 x 256 pixels is made. One thread, compiled modules, and every file read once before: the
first round does not count. The table tells medians of CPU time (user and system) and of wall time, and medians of the
CPU time beyond ``import torch`` in the same round, in seconds and as a share of that import, since seconds depend on
what else the machine does. The last rows say where the CPU time of a registration without picture goes, stage by stage.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = [sys.executable, "-m", "cnnreg"]
STAGES = """
import sys, time
from contextlib import contextmanager
marks = [("python", time.process_time())]
import torch; marks.append(("import torch", time.process_time()))
import SimpleITK; marks.append(("import SimpleITK", time.process_time()))
from cnnreg.cli import main, register
import cnnreg.interface.registrar as registrar
marks.append(("import cnnreg", time.process_time()))
from cnnreg.interface import registration as results
from cnnreg.pipeline import registration, setup
taken = {}
@contextmanager
def timed(stage):
    start, inner = time.process_time(), sum(taken.values())
    yield
    taken[stage] = taken.get(stage, 0) + time.process_time() - start - (sum(taken.values()) - inner)
class Watch(setup.Stopwatch):
    @contextmanager
    def __call__(self, stage):
        with timed(stage), super().__call__(stage):
            yield
def clocked(module, name, stage):
    function = getattr(module, name)
    def call(*a, **k):
        with timed(stage):
            return function(*a, **k)
    setattr(module, name, call)
registration.Stopwatch = Watch
clocked(registrar, "load", "model")
clocked(results, "write_registration", "write")
begin = time.process_time(); code = main.run(sys.argv[1:]); total = time.process_time() - begin
stages = {name: now - before for (_, before), (name, now) in zip(marks, marks[1:])}
stages |= taken | {"command line, and the rest": total - sum(taken.values())}
import json; print(json.dumps(stages)); sys.exit(code)
"""


def make_pair(folder: Path) -> list[str]:
    from speed import images

    from cnnreg.images.image import Grid, Image, write_image

    names = [str(folder / f"{name}.png") for name in ("fixed", "moving")]
    for name, pixels in zip(names, images(256), strict=True):
        write_image(Image((pixels * 255).astype("uint8"), Grid(pixels.shape), "png", ".png"), Path(name))
    return names


def run(command: list[str]) -> tuple[float, float, str]:
    """CPU and wall seconds of a process, and what it prints."""
    usual = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=usual, capture_output=True, text=True, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", metavar="FIXED MOVING")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pair = options.images or make_pair(Path(folder))
        register = ["register", *pair, "-o", f"{folder}/out", "--overwrite", "--quiet"]
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "import cnnreg": [sys.executable, "-c", "import cnnreg"],
            "cnnreg --help": [*MAIN, "--help"],
            "cnnreg register": [*MAIN, *register],
            "cnnreg register --no-picture": [*MAIN, *register, "--no-picture"],
            "cnnreg register --no-picture --init none": [*MAIN, *register, "--no-picture", "--init", "none"],
        }
        rounds = [{name: run(command) for name, command in commands.items()} for _ in range(options.rounds + 1)][1:]
        plain = [sys.executable, "-c", STAGES, *register, "--no-picture"]
        stages = [json.loads(run(plain)[2]) for _ in range(options.rounds)]
    rows = []
    print("| command | CPU s | wall s | CPU s beyond import torch | of import torch |\n|---|---|---|---|---|")
    for name in commands:
        cpu, wall = (statistics.median(r[name][n] for r in rounds) for n in (0, 1))
        beyond = statistics.median(r[name][0] - r["import torch"][0] for r in rounds)
        share = statistics.median(r[name][0] / r["import torch"][0] - 1 for r in rounds)
        rows.append({"command": name, "cpu": cpu, "wall": wall, "beyond": beyond, "share": share})
        print(f"| {name} | {cpu:.3f} | {wall:.3f} | {beyond:+.3f} | {100 * share:+.0f} % |")
    shares = {name: statistics.median(stage[name] for stage in stages) for name in stages[0]}
    print("\n| stage of a registration without picture | CPU s |\n|---|---|")
    for name, seconds in shares.items():
        print(f"| {name} | {seconds:.3f} |")
    if options.out:
        options.out.write_text(json.dumps({"rows": rows, "stages": shares}, indent=2) + "\n")


if __name__ == "__main__":
    main()
