"""Real pairs that do not lie on each other or differ in contrast: how many are aligned, and how well, by kind.

    python benchmarks/any_pair.py ../shared/data --out any_pair [--kinds retina ...] [--every N] [--tools ...]

Each tool is used as its users would. Told by kind: pairs whose median landmark error is under 1 and under 3 % of the
moving image's diagonal, after the alignment and after the field; mean and median over pairs of the mean error in
pixels of the moving image; the least that an affine map could leave; folding; verdicts; seconds. Writes OUT.csv and
OUT.md. The shipped universal-2d saw none of these images in training.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

import matchers

from cnnreg.config import preset
from cnnreg.geometry.fields import jacobian_determinant
from cnnreg.geometry.resampling import move_points
from cnnreg.images.image import Grid
from cnnreg.pairs.dataset import read_landmarks
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.registration import register
from cnnreg.pipeline.setup import Setup

Points = NDArray[np.float64]


@dataclass(frozen=True)
class DevelopmentPair:
    """Files and landmarks (row, column) of a pair."""

    name: str
    kind: str
    fixed: Path
    moving: Path
    points: tuple[Points, Points]


@dataclass(frozen=True)
class Outcome:
    """Landmark errors after the alignment and after the field, folding in per cent, and the verdict."""

    aligned: Points
    final: Points
    folding: float
    verdict: str = ""
    probability: float = float("nan")


def development_pairs(data: Path) -> Iterator[DevelopmentPair]:
    folder = data / "any_pair"
    with (folder / "pairs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            points = read_landmarks(folder / row["points_fixed"], folder / row["points_moving"])
            yield DevelopmentPair(row["pair_id"], row["kind"], folder / row["fixed"], folder / row["moving"], points)


def ours(pair: DevelopmentPair, features: str = "universal-2d") -> tuple[Outcome, tuple[int, ...]]:
    """As ``cnnreg register --model none`` does it; and the size of the moving image."""
    config = preset("default").override({"alignment": {"features": features}}, source="benchmark")
    result = register(Request(pair.fixed, pair.moving), Setup(config, "none"))
    initial = result.pair.total(torch.zeros_like(result.field))
    errors = [
        _errors(field, pair, result.pair.fixed.grid, result.pair.moving.grid) for field in (initial, result.field)
    ]
    verdict = result.verdict
    folding = list(result.measures.values())[-1]["folding_percent"]
    told = (verdict.name, verdict.probability) if verdict else ("", float("nan"))
    return Outcome(errors[0], errors[1], folding, *told), result.pair.moving.grid.size


def peer(pair: DevelopmentPair, tool: Callable[..., torch.Tensor]) -> tuple[Outcome, tuple[int, ...]]:
    """Grey images, as large as they are, to a field between their pixels."""
    from skimage.io import imread

    images = [_grey(imread(path)) for path in (pair.fixed, pair.moving)]
    field = tool(*images)
    grids = [Grid(image.shape) for image in images]
    errors = _errors(field, pair, *grids)
    folding = (jacobian_determinant(field) <= 0).float().mean().item() * 100
    return Outcome(errors, errors, folding), images[1].shape


def _grey(image: NDArray[np.generic]) -> NDArray[np.float32]:
    image = image[..., :3].mean(-1) if image.ndim == 3 else image
    return (image / max(float(image.max()), 1e-9)).astype(np.float32)


def _errors(field: torch.Tensor, pair: DevelopmentPair, fixed: Grid, moving: Grid) -> Points:
    return np.linalg.norm(move_points(pair.points[0], field, fixed, moving) - pair.points[1], axis=1)


def best_affine(pair: DevelopmentPair) -> Points:
    """What the affine map of the landmarks themselves leaves."""
    powers = np.c_[pair.points[0], np.ones(len(pair.points[0]))]
    return np.linalg.norm(powers @ np.linalg.lstsq(powers, pair.points[1], rcond=None)[0] - pair.points[1], axis=1)


def tools() -> dict[str, Callable[[DevelopmentPair], tuple[Outcome, tuple[int, ...]]]]:
    """Those that are compared; the peers are imported when they are used."""
    return {
        "cnnreg": ours,
        "cnnreg, --features none": lambda pair: ours(pair, "none"),
        "elastix": lambda pair: peer(pair, matchers.elastix()),
        "ANTs": lambda pair: peer(pair, matchers.ants()),
        "greedy": lambda pair: peer(pair, matchers.greedy()),
        "XFeat + LighterGlue + RANSAC": lambda pair: peer(pair, matchers.xfeat()),
        "prototype D": lambda pair: peer(pair, matchers.prototype()),
    }


def row_of(pair: DevelopmentPair, tool: str) -> dict[str, str]:
    began = time.perf_counter()
    outcome, size = tools()[tool](pair)
    seconds, diagonal = time.perf_counter() - began, float(np.hypot(*size))
    before = np.linalg.norm(pair.points[0] - pair.points[1], axis=1)
    row = {"kind": pair.kind, "pair": pair.name, "tool": tool, "before": f"{before.mean():.2f}"}
    row |= {"aligned": f"{outcome.aligned.mean():.2f}", "final": f"{outcome.final.mean():.2f}"}
    row |= {"best affine": f"{best_affine(pair).mean():.2f}"}
    for name, errors in (("aligned", outcome.aligned), ("final", outcome.final)):
        row |= {f"{name} < {p} %": str(int(np.median(errors) < p / 100 * diagonal)) for p in (1, 3)}
    row |= {"folding %": f"{outcome.folding:.2f}", "verdict": outcome.verdict}
    return row | {"probability": f"{outcome.probability:.3f}", "s": f"{seconds:.2f}"}


def summary(rows: list[dict[str, str]]) -> str:
    """A table by tool and kind."""
    head = ["tool", "kind", "pairs", "before", "aligned", "final", "best affine", "aligned < 1 %", "final < 1 %"]
    head += ["final < 3 %", "folding %, most", "good / check / failed", "s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for tool, kind in dict.fromkeys((row["tool"], row["kind"]) for row in rows):
        part = [row for row in rows if (row["tool"], row["kind"]) == (tool, kind)]

        def values(column: str, part: list[dict[str, str]] = part) -> Points:
            return np.array([float(row[column]) for row in part])

        cells = [tool, kind, str(len(part))]
        for c in ("before", "aligned", "final", "best affine"):
            cells.append(f"{values(c).mean():.2f} / {np.median(values(c)):.2f}")
        cells += [f"{int(values(c).sum())}" for c in ("aligned < 1 %", "final < 1 %", "final < 3 %")]
        cells.append(f"{values('folding %').max():.2f}")
        cells.append(" / ".join(str(sum(r["verdict"] == v for r in part)) for v in ("good", "check", "failed")))
        cells.append(f"{np.median(values('s')):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.csv and OUT.md go")
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--every", type=int, default=1, help="only every Nth pair")
    parser.add_argument("--tools", nargs="*", default=["cnnreg", "cnnreg, --features none"], choices=list(tools()))
    options = parser.parse_args()
    rows = []
    for number, pair in enumerate(development_pairs(options.data)):
        if number % options.every or (options.kinds and pair.kind not in options.kinds):
            continue
        for tool in options.tools:
            rows.append(row_of(pair, tool))
            print(" | ".join(rows[-1].values()), flush=True)
    rows.sort(key=lambda row: (options.tools.index(row["tool"]), row["kind"]))
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options.out.with_suffix(".md").write_text(summary(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
