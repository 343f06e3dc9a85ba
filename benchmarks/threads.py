"""Threads by default against one thread and against all cores, on a quiet machine and with a process on every core.

    python benchmarks/threads.py [--sizes 256 512 1024] [--rounds 9] [--limit 30] [--out threads.json]

Registrations of two synthetic images from arrays in memory, fifty iterations. Three processes take turns: one that was
given one thread, one that was given all cores and whose threads wait actively, which is OpenMP's default, and one that
was given nothing, as the command runs. Medians of all rounds, and ratios to one thread in the same round. A kind that
does not answer within the limit, seconds a registration, is given up. The load is started and ended here; work that
others do on the machine is in both parts. OMP_NUM_THREADS is taken away.
"""

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PASSIVE = {"OMP_WAIT_POLICY": "passive"}
KINDS = {"one thread": ("1", {}), "all cores, waiting actively": ("all", {}), "default": ("none", PASSIVE)}


START = 60  # seconds to import torch on a busy machine
Workers = dict[str, subprocess.Popen[str]]
Row = dict[str, object]


def work(threads: str) -> None:
    """Register two images of the side that each line of the input says; answer with the seconds and the threads."""
    from speed import images

    import cnnreg
    from cnnreg.cores import available

    count = {"1": 1, "all": available(), "none": None}[threads]
    registrar = cnnreg.Registrar(model="none", adapt=50, init="none", similarity="lncc", threads=count)
    known = {}
    for line in sys.stdin:
        side = int(line)
        if side not in known:
            known[side] = images(side)
            registrar.register(*known[side])
        start = time.perf_counter()
        result = registrar.register(*known[side]).result
        print(time.perf_counter() - start, result.threads, flush=True)


@contextmanager
def workers() -> Iterator[Workers]:
    """A process for each kind, which waits for what it is asked."""
    started = {}
    try:
        for kind, (threads, further) in KINDS.items():
            usual = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
            command = [sys.executable, __file__, "--work", threads]
            started[kind] = subprocess.Popen(
                command, env=usual | further, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        yield started
    finally:
        end(started.values())


@contextmanager
def load(count: int) -> Iterator[None]:
    """So many processes that do nothing but take time."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"], text=True) for _ in range(count)]
    try:
        yield
    finally:
        end(started)


def end(processes: Iterable[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def ask(process: subprocess.Popen[str], side: int, limit: float) -> tuple[float, int] | None:
    """Seconds and threads of a registration; None, and the end of the process, where it takes longer than ``limit``."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(side, file=process.stdin, flush=True)
    if not select.select([process.stdout], [], [], limit)[0]:
        end([process])
        return None
    seconds, threads = process.stdout.readline().split()
    return float(seconds), int(threads)


def compare(processes: Workers, side: int, rounds: int, limit: float) -> list[Row]:
    """Median seconds of each kind, and the median of its ratios to one thread."""
    answers: dict[str, list[tuple[float, int] | None]] = {kind: [] for kind in processes}
    for number in range(rounds + 1):  # in the first one the images are made
        for kind, process in processes.items():
            if process.poll() is None:
                answers[kind].append(ask(process, side, limit + START * (not number)))
    return [_row(kind, given[1:], answers["one thread"][1:], limit) for kind, given in answers.items() if given]


def _row(kind: str, given: list[tuple[float, int] | None], single: list[tuple[float, int] | None], limit: float) -> Row:
    pairs = [(a, b) for a, b in zip(given, single, strict=False) if a and b]
    if len(pairs) < len(single) or not pairs:
        return {"kind": kind, "threads": "", "seconds": f"> {limit:g}", "ratio": "given up"}
    seconds, ratio = (statistics.median(x) for x in zip(*((a[0], a[0] / b[0]) for a, b in pairs), strict=True))
    return {"kind": kind, "threads": pairs[0][0][1], "seconds": f"{seconds:.3f}", "ratio": f"{ratio:.2f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--limit", type=float, default=30)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    cores, rows = len(os.sched_getaffinity(0)), []
    print(f"{cores} cores, load average {os.getloadavg()[0]:.1f} before")
    print("| side | machine | kind | threads | seconds | ratio to one thread |\n|---|---|---|---|---|---|")
    with workers() as processes:
        for name, count in (("as it is", 0), ("and a process on every core", cores)):
            with load(count):
                for side in options.sizes:
                    for row in compare(processes, side, options.rounds, options.limit):
                        rows.append({"side": side, "machine": name, **row})
                        print("|", " | ".join(map(str, rows[-1].values())), "|", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"cores": cores, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
