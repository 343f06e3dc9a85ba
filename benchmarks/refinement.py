"""The displacement field alone: does it help or harm, by metric and by the choice that evidence makes for each pair?

    python benchmarks/refinement.py ../shared/data --out refinement [--every N] [--kinds retina ...] [--methods ...]

Each real pair is first aligned by the best affine map of its own landmarks; what the iterations then change is theirs
alone. Harm is the mean landmark error after the field minus that before it, in pixels of the moving image. The stained
pairs of ``kinds.py`` likewise, for three seeds; brain slices by their overlap (Dice of 24 structures). elastix
(B-splines of 16 pixels, mutual information, bending energy) runs on the same aligned images where it is installed.
Folding is the share of pixels with a Jacobian determinant of 0 or less. Writes OUT.csv and OUT.md.
"""

import argparse
import csv
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "train_models"))
from accuracy import brain_pairs, score
from any_pair import DevelopmentPair, development_pairs
from kinds import KINDS, make
from peers import elastix_default

from cnnreg.config import Config, preset
from cnnreg.devices import prepare_cpu
from cnnreg.engine.refinement import refine
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import jacobian_determinant
from cnnreg.geometry.resampling import move_points, shrink
from cnnreg.images.image import Grid, Image
from cnnreg.pairs.dataset import Pair, make_pair
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.reading import read_side

Points = NDArray[np.float64]
Method = Callable[[Pair], tuple[torch.Tensor, str]]  # to a field and the metric that was used
STAINED, SEEDS, BRAINS = "ihc.png", 3, "brain slices"


@dataclass(frozen=True)
class Case:
    """A pair as its landmarks align it, or one with label maps."""

    kind: str
    name: str
    load: Callable[[], Pair]
    points: tuple[Points, Points] | None = None

    @cached_property
    def pair(self) -> Pair:
        return self.load()


def best_affine(points: tuple[Points, Points]) -> Affine:
    """Of the landmarks, by least squares."""
    powers = np.c_[points[0], np.ones(len(points[0]))]
    matrix = np.linalg.lstsq(powers, points[1], rcond=None)[0]
    return Affine(matrix[:2].T.copy(), matrix[2].copy())


def aligned(found: DevelopmentPair, config: Config) -> Pair:
    sides = [read_side(given, config) for given in Request(found.fixed, found.moving).given]
    return make_pair(
        sides[0].image,
        sides[1].image,
        config.input,
        initial=best_affine(found.points),
        regions=(sides[0].region, sides[1].region),
        inputs=(sides[0].values, sides[1].values),
    )


def real_cases(data: Path, config: Config) -> Iterator[Case]:
    for found in development_pairs(data):
        yield Case(found.kind, found.name, partial(aligned, found, config), found.points)


def stained_cases(config: Config) -> Iterator[Case]:
    for name, contrast, far in KINDS:
        for seed in range(SEEDS if name == STAINED else 0):
            fixed, moving, *marks = make(name, contrast, far, seed)
            images = [Image(pixels, Grid(pixels.shape)) for pixels in (fixed, moving)]
            points = (marks[0], marks[1])
            load = partial(make_pair, images[0], images[1], config.input, initial=best_affine(points))
            yield Case("stained", f"{contrast}, seed {seed}", load, points)


def brain_cases(data: Path, config: Config) -> Iterator[Case]:
    pairs = brain_pairs(data, "val", config.input)
    return (Case(BRAINS, str(number), partial(pairs.__getitem__, number)) for number in range(len(pairs)))


def iterations(config: Config, similarity: str) -> Method:
    """As the command makes them, by one metric or by the one that is chosen."""
    settings = replace(config.refinement, similarity=similarity)

    def run(pair: Pair) -> tuple[torch.Tensor, str]:
        images = [shrink(image, settings.max_size) for image in (pair.fixed_input, pair.moving_input)]
        result = refine(images[0], images[1], {}, steps=config.adaptation.steps, config=settings, mask=pair.mask)
        return result.field, result.similarity

    return run


def elastix(pair: Pair) -> tuple[torch.Tensor, str]:
    return elastix_default()(pair.fixed_input[0, 0].numpy(), pair.moving_input[0, 0].numpy()), "mi"


def methods(config: Config) -> dict[str, Method]:
    table = {name: iterations(config, similarity) for name, similarity in (("chosen", "auto"), ("lncc", "lncc"))}
    table |= {"mi": iterations(config, "mi")}
    return table | ({"elastix": elastix} if importlib.util.find_spec("itk") else {})


def error(case: Case, field: torch.Tensor) -> float:
    """Mean distance of the landmarks."""
    assert case.points is not None
    pair = case.pair
    moved = move_points(case.points[0], pair.total(field), pair.fixed.grid, pair.moving.grid)
    return float(np.linalg.norm(moved - case.points[1], axis=1).mean())


def row_of(case: Case, name: str, method: Method) -> dict[str, str]:
    began = time.process_time()
    field, metric = method(case.pair)
    seconds = time.process_time() - began
    zero = torch.zeros_like(field)
    if case.points is None:
        values = [score(case.pair, lambda _, field=field: field)["dsc"] for field in (zero, field)]
    else:
        values = [error(case, field) for field in (zero, field)]
    row = {"kind": case.kind, "pair": case.name, "method": name, "metric": metric}
    row |= {"before": f"{values[0]:.4f}", "after": f"{values[1]:.4f}"}
    folding = (jacobian_determinant(field) <= 0).float().mean().item() * 100
    return row | {"folding %": f"{folding:.4f}", "CPU s": f"{seconds:.3f}"}


def summary(rows: list[dict[str, str]]) -> str:
    """A table by kind and method; for brain slices the numbers are Dice, and harm is their loss."""
    head = [
        "kind",
        "method",
        "pairs",
        "moved",
        "before",
        "after",
        "harm, mean",
        "worst",
        "> 1 px",
        "folding %",
        "CPU s",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind, name in dict.fromkeys((row["kind"], row["method"]) for row in rows):
        part = [row for row in rows if (row["kind"], row["method"]) == (kind, name)]
        before, after, folding, seconds = (
            np.array([float(row[column]) for row in part]) for column in ("before", "after", "folding %", "CPU s")
        )
        harm, digits = (before - after, 4) if kind == BRAINS else (after - before, 2)
        numbers = (before.mean(), after.mean(), harm.mean(), harm.max())
        cells = [kind, name, str(len(part)), str(sum(row["metric"] != "none" for row in part))]
        cells += [f"{number:.{digits}f}" for number in numbers]
        cells += ["" if kind == BRAINS else str(int((harm > 1).sum())), f"{folding.max():.3f}"]
        lines.append("| " + " | ".join([*cells, f"{np.median(seconds):.2f}"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.csv and OUT.md go")
    parser.add_argument("--kinds", nargs="*", help=f"of the real pairs, stained, '{BRAINS}'")
    parser.add_argument("--every", type=int, default=1, help="only every Nth pair of each kind")
    parser.add_argument("--methods", nargs="*", help="of chosen, lncc, mi, elastix")
    options = parser.parse_args()
    prepare_cpu(1)
    config = preset("default")
    wanted = {name: m for name, m in methods(config).items() if not options.methods or name in options.methods}
    rows, count = [], dict[str, int]()
    for cases in (real_cases(options.data, config), stained_cases(config), brain_cases(options.data, config)):
        for case in cases:
            count[case.kind] = count.get(case.kind, -1) + 1
            if count[case.kind] % options.every or (options.kinds and case.kind not in options.kinds):
                continue
            for name, method in wanted.items():
                rows.append(row_of(case, name, method))
                print(" | ".join(rows[-1].values()), flush=True)
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options.out.with_suffix(".md").write_text(summary(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
