"""cnnreg and its peers on the same images in the same run: overlap, contours, folding, time.

    pip install 'cnnreg[peers]'    # in an environment of its own
    python benchmarks/accuracy.py ../shared/data --part val --out accuracy-val

Cardiac ED/ES pairs, chest films against their affinely aligned mirror images (left and right lung scored apart), and
brain slices of two people (24 structures; each subject with the next one), of the patients of one part of
train_models/make_tables.py. Every method gets the same intensities in [0, 1], and every field is scored by the same
code. Writes OUT.md and OUT.csv (a row per pair and method).
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "train_models"))
from make_tables import split
from peers import PEERS

from cnnreg.config import InputConfig, preset
from cnnreg.devices import prepare_cpu
from cnnreg.engine.refinement import refine
from cnnreg.evaluation.measure import gather, measure
from cnnreg.geometry.fields import resize
from cnnreg.geometry.resampling import shrink
from cnnreg.learning.adaptation import adapt
from cnnreg.learning.modelcards import load_model
from cnnreg.learning.modelplaces import find
from cnnreg.pairs.dataset import Pair, PairFiles, load_pair, read_intensities, read_labels
from cnnreg.pairs.mirroring import mirror_pair

Method = Callable[[Pair], torch.Tensor]
MODELS = {"cardiac": "cardiac-cine-mr", "chest": "chest-xray"}
MEASURES = ("dsc", "cmd_px", "hd95_px", "mad", "folding_percent", "sd_log_jacobian", "seconds")
TITLES = ("DSC", "CMD px", "HD95 px", "MAD", "folding %", "SD log J", "seconds")
DIGITS = (4, 3, 2, 4, 4, 3, 3)


def part_of(table: Path, key: str, part: str) -> list[dict[str, str]]:
    """Rows of the patients of one part."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = split([row[key] for row in rows])
    return [row for row in rows if parts[row[key]] == part]


def cardiac_pairs(data: Path, part: str, config: InputConfig) -> list[Pair]:
    folder, names = data / "cardiac_cine_mr", ("fixed", "moving", "seg_fixed", "seg_moving")
    rows = part_of(folder / "pairs.csv", "patient", part)
    return [load_pair(PairFiles(*(folder / row[name] for name in names)), config) for row in rows]


def chest_pairs(data: Path, part: str, config: InputConfig) -> list[Pair]:
    folder, pairs = data / "chest_xray", []
    for row in part_of(folder / "images.csv", "image_id", part):
        image = read_intensities(folder / row["image"])
        pairs.append(mirror_pair(image, read_labels(folder / row["seg"], image.grid), config))
    return pairs


def brain_pairs(data: Path, part: str, config: InputConfig) -> list[Pair]:
    """Each subject of the part fixed, with the next one, and the last with the first."""
    folder = data / "brain_mr_2d"
    rows = part_of(folder / "images.csv", "subject", part)
    return [
        load_pair(PairFiles(*(folder / row[name] for name in ("image", "seg") for row in (one, other))), config)
        for one, other in zip(rows, [*rows[1:], *rows[:1]], strict=True)
    ]


KINDS = {"cardiac": cardiac_pairs, "chest": chest_pairs, "brain": brain_pairs}


def peer(name: str) -> Method:
    register = PEERS[name]()
    return lambda pair: register(pair.fixed_input[0, 0].numpy(), pair.moving_input[0, 0].numpy())


def ours(name: str, model: str | None, steps: int | None = None) -> Method:
    """A preset of cnnreg from a model, or from nothing; the network's own time counts."""
    config = preset(name)
    steps = config.adaptation.steps if steps is None else steps
    network = load_model(find(model)).network if model else None

    @torch.no_grad()
    def register(pair: Pair) -> torch.Tensor:
        inputs = [shrink(image, config.input.max_size) for image in (pair.fixed_input, pair.moving_input)]
        size, starts = pair.fixed.grid.size, {}
        if network:
            if config.adaptation.target == "weights" and steps:
                chosen = replace(config, adaptation=replace(config.adaptation, steps=steps))
                return resize(adapt(network, [tuple(inputs)], config=chosen).network(*inputs), size)
            starts = {"network": resize(network(*inputs), size)}
            if not steps:
                return starts["network"]
        return refine(pair.fixed_input, pair.moving_input, starts, steps=steps, config=config.refinement).field

    return register


def methods(kind: str, peers: list[str]) -> dict[str, Callable[[], Method]]:
    own, far = MODELS.get(kind), next(model for other, model in MODELS.items() if other != kind)
    table: dict[str, Callable[[], Method]] = {"before": lambda: lambda pair: torch.zeros(1, 2, *pair.fixed.grid.size)}
    table |= {name: (lambda name=name: peer(name)) for name in peers}
    starts = [("no model", None), ("own model", own), ("far model", far)]
    if own is None:
        starts = starts[:1]
    else:
        table["own model alone"] = lambda: ours("default", own, 0)
        table["paper, own model, 50 steps on the weights"] = lambda: ours("paper", own, 50)
    for name, steps in (("fast", None), ("default", 50), ("accurate", None)):
        for start, model in starts:
            shown = steps or preset(name).adaptation.steps
            table[f"{name} ({shown}), {start}"] = lambda n=name, m=model, s=steps: ours(n, m, s)
    return table


def score(pair: Pair, method: Method) -> dict[str, float]:
    start = time.perf_counter()
    field = method(pair)
    seconds = time.perf_counter() - start
    found = measure(replace(gather(pair, None), fixed=pair.fixed_input, moving=pair.moving_own), field)
    found |= found.pop("overlap") | {"seconds": seconds}
    return {name: float(found[name]) if found[name] is not None else float("nan") for name in MEASURES}


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    draws = np.random.default_rng(0).integers(0, len(differences), (4000, len(differences)))
    low, high = np.quantile(differences[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)


def table(results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Means of the measures, 5th percentile of DSC, median seconds."""
    lines = ["| method | " + " | ".join([TITLES[0], "5th pct.", *TITLES[1:]]) + " |", "|---" * (len(TITLES) + 2) + "|"]
    for name, rows in results.items():
        columns = {key: np.array([row[key] for row in rows]) for key in MEASURES}
        cells = [f"{np.nanmean(columns[key]):.{d}f}" for key, d in zip(MEASURES[:-1], DIGITS, strict=False)]
        cells.insert(1, f"{np.nanquantile(columns['dsc'], 0.05):.3f}")
        cells.append(f"{statistics.median(columns['seconds'].tolist()):.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def differences(results: dict[str, list[dict[str, float]]], peers: list[str], chosen: list[str]) -> list[str]:
    """Paired differences of DSC and CMD, with intervals, between our rows and every peer."""
    lines = ["| ours minus peer | DSC | CMD px |", "|---|---|---|"]
    for mine in chosen:
        for other in peers:
            cells = []
            for key, digits in (("dsc", 4), ("cmd_px", 3)):
                a, b = (np.array([row[key] for row in results[name]]) for name in (mine, other))
                known = ~np.isnan(a - b)
                low, high = interval((a - b)[known])
                cells.append(f"{(a - b)[known].mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
            lines.append(f"| {mine} - {other} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=("train", "val", "test"), default="val")
    parser.add_argument("--out", type=Path, required=True, help="where OUT.md and OUT.csv go")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="only these")
    parser.add_argument("--kinds", nargs="*", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--limit", type=int, help="only the first pairs of each kind")
    parser.add_argument("--threads", type=int, help="of cnnreg; ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS sets the peers'")
    options = parser.parse_args()
    threads = prepare_cpu(options.threads)
    config = preset("default").input
    lines = [f"Part {options.part}, {threads} threads."]
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "pair", "method", *MEASURES])
        for kind in options.kinds:
            pairs = KINDS[kind](options.data, options.part, config)[: options.limit]
            results: dict[str, list[dict[str, float]]] = {}
            for name, make in methods(kind, options.peers).items():
                method = make()
                results[name] = [score(pair, method) for pair in pairs]
                writer.writerows([kind, i, name, *row.values()] for i, row in enumerate(results[name]))
                file.flush()
                print(kind, table({name: results[name]})[-1], flush=True)
            chosen = ["default (50), no model", "default (50), own model", "fast (12), own model"]
            chosen = [name for name in chosen if name in results]
            lines += [
                f"\n{kind}: {len(pairs)} pairs\n",
                *table(results),
                "",
                *differences(results, options.peers, chosen),
            ]
            options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
