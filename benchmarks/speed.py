"""Time and memory against image size and iterations, cnnreg and its peers in the same run on the same images.

    pip install 'cnnreg[peers]'    # in an environment of its own
    python benchmarks/speed.py --out speed

    python benchmarks/speed.py --pairs ../shared/data

A process for each method and size, on synthetic images: median seconds of a registration after one to warm up, and the
peak memory of the process, imports included. Writes OUT.md, OUT.csv and OUT.png. With ``--pairs``, instead, cnnreg,
greedy and elastix take turns on eight cardiac validation pairs in one process: for ratios, since what slows the
machine then slows all of them. Run it on a quiet machine.
"""

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZES = (64, 128, 256, 512, 1024, 2048)
STEPS = (12, 50, 200)
LARGEST = {"ANTs SyN, CC 4": 256, "elastix, NCC": 512, "ITK demons": 512}  # what takes a minute and more is left out


def images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs of several scales, and the same under a smooth deformation of a few percent of the width."""
    import torch
    import torch.nn.functional as F

    from cnnreg.geometry.fields import warp

    rng = torch.Generator().manual_seed(0)
    scales = [n for n in (8, 16, 32, 64, 128) if n < size]
    shape = {"size": (size, size), "mode": "bicubic", "align_corners": False}
    moving = sum(F.interpolate(torch.randn(1, 1, n, n, generator=rng), **shape) / n**0.5 for n in scales)
    moving = (moving - moving.min()) / (moving.max() - moving.min())
    field = F.interpolate(torch.randn(1, 2, 4, 4, generator=rng), **shape) * size * 0.02
    return warp(moving, field)[0, 0].numpy(), moving[0, 0].numpy()


def method(name: str, size: int) -> Callable[[], object]:
    """A registration of two images of this size."""
    fixed, moving = images(size)
    if name.startswith("cnnreg"):
        import torch

        from cnnreg.config import preset
        from cnnreg.devices import prepare_cpu
        from cnnreg.engine.refinement import refine

        prepare_cpu(None)
        pair, config = [torch.from_numpy(image)[None, None] for image in (fixed, moving)], preset("default").refinement
        return lambda: refine(*pair, {}, steps=int(name.split()[1]), config=config)
    from peers import PEERS

    register = PEERS[name]()
    return lambda: register(fixed, moving)


def work(name: str, size: int) -> dict[str, float]:
    """Median time of several runs, fewer where one takes long; peak memory of this process."""
    register = method(name, size)
    register()
    times: list[float] = []
    while not times or (len(times) < 15 and sum(times) < 4):
        start = time.perf_counter()
        register()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def take_turns(data: Path) -> None:
    """Median times on real pairs, one method after the other on each, and how many times as long the peers take."""
    from accuracy import cardiac_pairs, ours, peer

    from cnnreg.config import preset
    from cnnreg.devices import prepare_cpu

    prepare_cpu(None)
    pairs = cardiac_pairs(data, "val", preset("default").input)[:8]
    turns = {f"cnnreg {n}": (ours("default", None, n), 4) for n in (12, 50)}
    turns |= {name: (peer(name), 1) for name in ("greedy, NCC 4x4", "elastix, default B-spline")}
    times: dict[str, list[float]] = {name: [] for name in turns}
    for pair in [pairs[0], *pairs]:  # the first one warms up
        for name, (register, repeats) in turns.items():
            for _ in range(repeats):
                start = time.perf_counter()
                register(pair)
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[turns[name][1] :]) for name, values in times.items()}
    for name, seconds in medians.items():
        ratios = ", ".join(f"{peer} {medians[peer] / seconds:.1f} times" for peer in list(turns)[2:])
        print(f"{name:28} {seconds * 1e3:8.1f} ms; {ratios}")


def plot(rows: list[dict[str, object]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        style = {"lw": 2.5} if str(name).startswith("cnnreg") else {"lw": 1.2, "ls": "--"}
        for axis, key in zip(axes, ("seconds", "mb"), strict=True):
            axis.plot([r["size"] for r in mine], [r[key] for r in mine], marker="o", ms=4, label=name, **style)
    for axis, title in zip(axes, ("seconds for one pair", "peak memory of the process [MB]"), strict=True):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set(xlabel="pixels a side", title=title, xticks=SIZES, xticklabels=SIZES)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where OUT.md, OUT.csv and OUT.png go")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--only", nargs="*", help="methods whose name contains one of these")
    parser.add_argument("--pairs", type=Path, metavar="DATA", help="take turns on real pairs instead")
    parser.add_argument("--worker", nargs=2, metavar=("METHOD", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker[0], int(options.worker[1]))))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    if options.pairs:
        take_turns(options.pairs)
        return
    from peers import PEERS

    names = [*(f"cnnreg {n}" for n in STEPS), *PEERS]
    names = [name for name in names if not options.only or any(part in name for part in options.only)]
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        for name in names:
            if size > LARGEST.get(name, 2**31):
                continue
            command = [sys.executable, __file__, "--worker", name, str(size)]
            ended = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append({"method": name, "size": size, **json.loads(ended.stdout.splitlines()[-1])})
            print(rows[-1], flush=True)
    if options.out:
        with options.out.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["method", "size", "seconds", "mb"])
            writer.writeheader()
            writer.writerows(rows)
        lines = ["| method | " + " | ".join(map(str, options.sizes)) + " |", "|---" * (len(options.sizes) + 1) + "|"]
        cells = {(row["method"], row["size"]): f"{row['seconds']:.3f} s, {row['mb']:.0f} MB" for row in rows}
        lines += [f"| {name} | " + " | ".join(cells.get((name, s), "") for s in options.sizes) + " |" for name in names]
        options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
        plot(rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
