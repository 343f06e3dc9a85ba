"""Times on CUDA, warm and cold, against their goals, and how near they are to the bandwidth of the memory.

    python benchmarks/gpu.py [--out gpu.json]
    python benchmarks/gpu.py --device cpu --size 64 --large 96 --batch 2 --repeats 2 --long 4    # tries the script

Cold is the first call in this process, warm the median of the later ones; both end with a synchronisation. Images are
synthetic, and lie on the device already. The traffic of a registration is what its operations read and write, each by
itself, counted from the sizes of their tensors: an upper bound of what fused kernels would need. Bandwidth is that of
a large copy on the same device.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from speed import images
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnnreg.config import preset
from cnnreg.devices import device_title, prepare_cpu
from cnnreg.engine.refinement import refine
from cnnreg.learning.adaptation import adapt
from cnnreg.learning.network import build_network

Work = Callable[[], object]


@dataclass(frozen=True)
class Task:
    """Something to be timed."""

    name: str
    work: Work
    goal: float  # seconds, of this project
    pairs: int = 1
    repeats: int | None = None


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves([args, kwargs, result]) if isinstance(x, Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return result


def pair_of(size: int, count: int, device: str) -> tuple[Tensor, Tensor]:
    """Two batches (count, 1, size, size) of the same pair."""
    fixed, moving = (torch.from_numpy(x)[None, None].repeat(count, 1, 1, 1).to(device) for x in images(size))
    return fixed, moving


def tasks(options: argparse.Namespace) -> list[Task]:
    """What issue and users ask for; the goals are for sizes of 256 and 2048, 50 and 3000 iterations."""
    small, large = (pair_of(n, 1, options.device) for n in (options.size, options.large))
    many, steps = pair_of(options.size, options.batch, options.device), options.steps
    default, paper = preset("default").refinement, preset("paper")
    network = build_network(paper.network, seed=0).to(options.device).eval()

    def tuned(steps: int) -> Work:
        config = replace(paper, adaptation=replace(paper.adaptation, steps=steps))
        return lambda: adapt(network, [small], config=config)

    def predicted() -> Tensor:
        with torch.inference_mode():
            return network(*small)

    def refined(pair: tuple[Tensor, Tensor]) -> Work:
        return lambda: refine(*pair, {}, steps=steps, config=default)

    side, big = f"{options.size} x {options.size}", f"{options.large} x {options.large}"
    return [
        Task(f"prediction, {side}", predicted, 0.06),
        Task(f"{steps} iterations on the field, {side}", refined(small), 0.015),
        Task(f"the same, {options.batch} pairs at once", refined(many), options.batch / 500, options.batch),
        Task(f"{steps} iterations on the field, {big}", refined(large), 0.15),
        Task(f"paper preset, {steps} iterations on the weights, {side}", tuned(steps), 0.1),
        Task(f"paper preset, {options.long} iterations on the weights, {side}", tuned(options.long), 5.0, repeats=1),
    ]


def seconds(work: Work, device: str) -> float:
    """Of one call, to its very end on the device."""
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def bandwidth(device: str) -> float:
    """Bytes a second of a copy that no cache holds, read and written."""
    source = torch.ones((1 << 28) if device.startswith("cuda") else (1 << 24), device=device)
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source), device) for _ in range(6)]
    return 2 * source.numel() * source.element_size() / min(times[1:])


def measure(task: Task, device: str, repeats: int, most: float) -> dict[str, Any]:
    """Cold and warm time, pairs a second, and the share of the bandwidth that was used."""
    cold = seconds(task.work, device)
    warm = statistics.median(seconds(task.work, device) for _ in range(task.repeats or repeats))
    traffic = None
    if "field" in task.name or "pairs" in task.name:
        with Traffic() as counted:
            task.work()
        traffic = counted.bytes
    return {
        "task": task.name,
        "cold": cold,
        "warm": warm,
        "pairs a second": task.pairs / warm,
        "goal": task.goal,
        "traffic": traffic,
        "of the bandwidth": None if traffic is None else traffic / warm / most,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--large", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--long", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"there is no CUDA device here (torch {torch.__version__}): nothing was measured; see --help")
    prepare_cpu(None)
    most = bandwidth(options.device)
    print(f"{device_title(options.device)}, torch {torch.__version__}, {most / 1e9:.0f} GB/s when copying\n")
    print("| task | cold s | warm s | goal s | pairs a second | GB read and written | of the bandwidth |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for task in tasks(options):
        rows.append(row := measure(task, options.device, options.repeats, most))
        traffic = ["", ""]
        if row["traffic"] is not None:
            traffic = [f"{row['traffic'] / 1e9:.3f}", f"{100 * row['of the bandwidth']:.0f} %"]
        cells = [f"{row['cold']:.4f}", f"{row['warm']:.4f}", f"{row['goal']:.4f}", f"{row['pairs a second']:.1f}"]
        print("|", " | ".join([row["task"], *cells, *traffic]), "|", flush=True)
    if options.out:
        found = {"device": device_title(options.device), "torch": torch.__version__, "bandwidth": most, "rows": rows}
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
