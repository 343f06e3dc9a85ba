"""Accuracy of the shipped models, and of steps on their weights, on patients they never saw; what a run costs.

    python benchmarks/foundation.py ../shared/data [--adapt 50] [--pairs N]

Accuracy: mean over the test quarter of train_models/make_tables.py, with folding beside it; label maps of the chest
X-rays are scored lung by lung. Cost: medians on this machine; whole processes are measured by the operating system.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from accuracy import cardiac_pairs, chest_pairs, part_of

from cnnreg.config import preset
from cnnreg.engine.refinement import refine
from cnnreg.evaluation.measure import Measures, gather, measure
from cnnreg.geometry.fields import resize
from cnnreg.learning.adaptation import adapt
from cnnreg.learning.modelcards import load_model
from cnnreg.learning.modelplaces import find
from cnnreg.pairs.dataset import Pair
from cnnreg.pipeline.setup import working_inputs


def score(pairs: list[Pair], model: str, name: str, steps: int) -> list[Measures]:
    """Measures of every pair: before (no model), prediction, or ``steps`` one-shot steps."""
    config = preset(name)
    config = replace(config, adaptation=replace(config.adaptation, steps=steps))
    loaded = None if model == "before" else load_model(find(model))
    results = []
    for pair in pairs:
        evidence = gather(pair, None)
        evidence = replace(evidence, fixed=pair.fixed_input, moving=pair.moving_own)
        field = torch.zeros(1, 2, *pair.fixed.grid.size)
        if loaded:
            inputs = working_inputs(pair, config, "cpu")
            network = adapt(loaded.network, [inputs], config=config).network if steps else loaded.network
            with torch.no_grad():
                field = resize(network(*inputs), pair.fixed.grid.size)
        results.append(measure(evidence, field))
    return results


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of ``function`` after one warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def process(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)


def print_costs(pair: Pair, files: tuple[Path, Path]) -> None:
    """Forward pass, fifty one-shot steps, and whole processes."""
    model = load_model(find("cardiac-cine-mr"))
    config = preset("paper").override({"adaptation": {"steps": 50}}, source="benchmark")
    inputs = working_inputs(pair, config, "cpu")

    @torch.no_grad()
    def forward() -> None:
        model.network(*inputs)

    print(f"threads {torch.get_num_threads()}, images {tuple(inputs[0].shape[2:])}")
    print(f"forward pass                      {median_seconds(forward, 100) * 1e3:8.1f} ms")
    fifty = median_seconds(lambda: adapt(model.network, [inputs], config=config), 7)
    print(f"50 steps on the weights, paper    {fifty:8.2f} s")
    default = preset("default").override({"adaptation": {"steps": 50}}, source="benchmark")
    fifty = median_seconds(lambda: adapt(model.network, [inputs], config=default), 7)
    print(f"the same, energy of default       {fifty:8.2f} s")
    start = {"network": model.network(*inputs).detach()}
    for steps in (12, 50):
        field = median_seconds(lambda n=steps: refine(*inputs, start, steps=n, config=default.refinement), 15)
        print(f"{steps} steps on the field {field * 1e3:20.1f} ms")
    imported = median_seconds(process([sys.executable, "-c", "import torch"]), 7)
    print(f"python -c 'import torch'          {imported:8.2f} s")
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "cnnreg", "register", *map(str, files), "-o", out, "--overwrite", "--quiet"]
        whole = median_seconds(process([*command, "--model", "cardiac-cine-mr"]), 7)
    print(f"cnnreg register, picture and all  {whole:8.2f} s = import torch + {whole - imported:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"its peak memory                   {peak:8.0f} MB")
    seconds = median_seconds(process([sys.executable, "-m", "cnnreg", "--help"]), 9)
    print(f"cnnreg --help                     {seconds:8.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--adapt", type=int, default=50, help="one-shot steps of the adapted rows")
    parser.add_argument("--pairs", type=int, default=None, help="only the first N test pairs of each kind")
    parser.add_argument("--start", help="only the rows of this model")
    options = parser.parse_args()
    os.environ.pop("CNNREG_CACHE", None)
    cards = [load_model(find(name)).card for name in ("cardiac-cine-mr", "chest-xray")]
    assert cards[0].input == cards[1].input, "pairs are prepared once, for both models"
    loads = {"cardiac-cine-mr": cardiac_pairs, "chest-xray": chest_pairs}
    kinds = {kind: load(options.data, "test", cards[0].input) for kind, load in loads.items()}
    files = load_first_files(options.data)
    print_costs(kinds["cardiac-cine-mr"][0], files)
    print("\n| images | start | preset | steps | DSC | 5th pct. DSC | CMD px | HD95 px | folding % | SD log J |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, pairs in kinds.items():
        for model in ("before", *kinds):
            for name, steps in (("-", 0), ("paper", options.adapt), ("default", options.adapt)):
                if (model == "before" and steps) or options.start not in {None, model}:
                    continue
                rows = score(pairs[: options.pairs], model, "default" if name == "-" else name, steps)
                print_row([kind, model, name, str(steps)], rows)


def load_first_files(data: Path) -> tuple[Path, Path]:
    row = part_of(data / "cardiac_cine_mr" / "pairs.csv", "patient", "test")[0]
    return data / "cardiac_cine_mr" / row["fixed"], data / "cardiac_cine_mr" / row["moving"]


def print_row(titles: list[str], rows: list[Measures]) -> None:
    dsc = sorted(row["overlap"]["dsc"] for row in rows)
    cells = [statistics.mean(dsc), dsc[int(0.05 * len(dsc))]]
    cells += [statistics.mean(row["overlap"][name] for row in rows) for name in ("cmd_px", "hd95_px")]
    cells += [statistics.mean(row[name] for row in rows) for name in ("folding_percent", "sd_log_jacobian")]
    print("| " + " | ".join([*titles, *(f"{cell:.4f}" for cell in cells)]) + " |", flush=True)


if __name__ == "__main__":
    main()
