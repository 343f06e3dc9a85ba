"""How well the verdict tells good registrations from failed ones, and the fit of its probability.

    python benchmarks/verdict.py ../shared/data --out verdict [--cases ../shared/cases] [--unrelated 40] [--every N]
    python benchmarks/verdict.py ../shared/data --out verdict --again      # the fit, from OUT.csv

Whole registrations, as ``cnnreg register --model none`` does them, from four starts: found; where the files put the
images; found, and displaced by 1 to 3 % of the diagonal; and by 3 to 10 %, turned and scaled besides. Of every
development pair of any_pair, of the pairs that kinds.py makes, of the cases that have landmarks; and images that have
nothing to do with each other. One is good where the median distance of its landmarks is below 1 % of the diagonal. The
pairs are divided in two by a hash of their names; what is told of one half was fitted to the other. Writes OUT.csv and
OUT.md: area under the curve, calibration, how many of the bad are called good, by kind, and what was told wrongly; the
weights fitted to all; and those of the map of confidence, from its values at the landmarks.
"""

import argparse
import csv
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import kinds
import numpy as np
from any_pair import development_pairs
from numpy.typing import NDArray
from PIL import Image as PILImage
from scipy.optimize import minimize

from cnnreg.config import preset
from cnnreg.engine.evidence import Evidence
from cnnreg.engine.verdict import FAILED, FEW, GOOD, LOCAL, WEIGHTS, terms
from cnnreg.errors import CnnregError
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.resampling import move_points
from cnnreg.geometry.transformfile import write_affine
from cnnreg.pairs.dataset import read_landmarks
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.registration import Registration, register
from cnnreg.pipeline.setup import Setup

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
FOUND, GIVEN, SLIPPED, OFF = "found", "given", "slipped", "off"
STARTS = (FOUND, GIVEN, SLIPPED, OFF)
BINS = (0.0, 0.05, 0.25, 0.5, 0.8, 0.95, 1.0)


@dataclass(frozen=True)
class Pair:
    kind: str
    name: str
    fixed: Path
    moving: Path
    points: Points | None  # of the fixed and of the moving image; None: they have nothing in common


@dataclass(frozen=True)
class Case:
    """One registration: the error in per cent of the moving image's diagonal, and what the verdict saw of it."""

    kind: str
    name: str
    start: str
    error: float  # infinite where there is no right answer
    probability: float  # as it was told
    share: float
    matches: int
    coverage: float
    residual: float  # per cent of the diagonal
    inconsistency: float
    places: str  # the map of confidence at each landmark, and whether the error is below 1 % there

    @property
    def good(self) -> bool:
        return self.error < 1

    @property
    def half(self) -> int:
        return zlib.crc32(self.name.encode()) % 2

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.share, self.matches, self.residual, self.inconsistency, self.coverage, 100.0)


def pairs_of(data: Path, cases: Path | None, folder: Path, every: int) -> Iterator[Pair]:
    for pair in list(development_pairs(data))[::every]:
        yield Pair(pair.kind, pair.name, pair.fixed, pair.moving, pair.points)
    for number, (name, contrast, far) in enumerate(kinds.KINDS[::every]):
        made = kinds.make(name, contrast, far, 0)
        if number % 2:
            made = kinds.bordered(made, kinds.BORDERS[number // 2 % len(kinds.BORDERS)])
        files = [folder / f"{number}_{which}.png" for which in ("fixed", "moving")]
        for path, image in zip(files, made[:2], strict=True):
            PILImage.fromarray(np.rint(255 * image.clip(0, 1)).astype(np.uint8)).save(path)
        yield Pair("made", f"{name}, {contrast}", *files, (made[2], made[3]))
    for points in sorted(cases.rglob("pf.csv"))[::every] if cases else ():
        images = [next(path for path in points.parent.glob(f"{which}.*")) for which in ("f", "m")]
        landmarks = read_landmarks(points, points.with_name("pm.csv"))
        yield Pair("cases", str(points.parent.relative_to(cases)), *images, landmarks)


def unrelated(pairs: Sequence[Pair], data: Path, count: int) -> Iterator[Pair]:
    """The fixed image of one pair and the moving image of another; half of them of one kind; hearts onto others."""
    random = np.random.default_rng(0)
    heart = sorted((data / "cardiac_cine_mr" / "images").glob("*_ED.png"))
    usual = [pair for pair in pairs if not pair.kind.startswith("mr")]  # whose brains are one brain
    for number in range(count):
        one = usual[random.integers(len(usual))]
        others = [p for p in usual if p.name != one.name and (number % 4 < 2 or p.kind == one.kind)]
        if number % 4 == 0:
            image = heart[random.integers(len(heart))]
            yield Pair("unrelated", f"{one.name} with {image.stem}", one.fixed, image, None)
        elif others:
            other = others[random.integers(len(others))]
            yield Pair("unrelated", f"{one.name} with {other.name}", one.fixed, other.moving, None)


def registrations(pair: Pair, folder: Path) -> Iterator[tuple[str, Registration]]:
    """From every start; what is in place by its files has no second one."""
    config, random = preset("default"), np.random.default_rng(zlib.crc32(pair.name.encode()))
    found = register(Request(pair.fixed, pair.moving), Setup(config, "none"))
    yield FOUND, found
    if pair.points is None:
        return
    if found.initial.needed:
        given = config.override({"alignment": {"init": "none"}}, source="benchmark")
        with suppress(CnnregError):  # they do not overlap there
            yield GIVEN, register(Request(pair.fixed, pair.moving), Setup(given, "none"))
    for start, (least, most), bent in ((SLIPPED, (1, 3), 0.0), (OFF, (3, 10), 1.0)):
        grids, file = (found.pair.fixed.grid, found.pair.moving.grid), folder / "displaced.tfm"
        displaced = _displaced(grids[0].size, random.uniform(least, most), bent, random)
        write_affine(found.initial.affine.after(displaced), *grids, file)
        yield start, register(Request(pair.fixed, pair.moving, transform=file), Setup(config, "none"))


def _displaced(size: tuple[int, int], percent: float, bent: float, random: np.random.Generator) -> Affine:
    middle, towards = (np.array(size) - 1) / 2, random.uniform(0, 2 * np.pi)
    shift = percent / 100 * np.hypot(*size) * np.array([np.sin(towards), np.cos(towards)])
    angle, scale = bent * np.radians(random.uniform(-6, 6)), np.exp(bent * random.uniform(-0.05, 0.05))
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Affine(matrix, middle - matrix @ middle + shift)


def case_of(pair: Pair, start: str, result: Registration) -> Case:
    verdict, error, places = result.verdict, float("inf"), ""
    assert verdict is not None
    evidence, percent = verdict.evidence, verdict.evidence.diagonal / 100
    if pair.points:
        grids = result.pair.fixed.grid, result.pair.moving.grid
        off = np.linalg.norm(move_points(pair.points[0], result.field, *grids) - pair.points[1], axis=1)
        off *= 100 / np.hypot(*grids[1].size)
        error, confidence = float(np.median(off)), verdict.confidence[0]
        cells = (pair.points[0] / grids[0].size * confidence.shape).astype(int)
        told = confidence[tuple(cells.clip(0, np.array(confidence.shape) - 1).T)]
        places = " ".join(f"{p:.3f}{'+' if o < 1 else '-'}" for p, o in zip(told, off, strict=True))
    seen = evidence.share, evidence.matches, evidence.coverage
    left = evidence.residual / percent, evidence.inconsistency / percent
    return Case(pair.kind, pair.name, start, error, verdict.probability, *seen, *left, places)


def fit(values: NDArray[np.float64], good: NDArray[np.bool_], weights: NDArray[np.float64] | None = None) -> NDArray:
    """Of a logistic function, held a little towards 0, or cases that are told apart wholly would make it a step."""
    each = np.ones(len(good)) if weights is None else weights

    def loss(w: NDArray[np.float64]) -> float:
        return float((each * np.logaddexp(0, np.where(good, -1, 1) * (values @ w))).sum() + 0.05 * (w[1:] ** 2).sum())

    return minimize(loss, np.zeros(values.shape[1])).x


def probabilities(cases: Sequence[Case], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    enough = np.array([case.matches >= FEW for case in cases])
    return enough / (1 + np.exp(-np.array([terms(case.evidence) for case in cases]) @ weights))


def fitted(cases: Sequence[Case]) -> NDArray[np.float64]:
    return fit(np.array([terms(case.evidence) for case in cases]), np.array([case.good for case in cases]))


def area(good: NDArray[np.bool_], told: NDArray[np.float64]) -> float:
    """Under the curve: how often a good case has the higher probability."""
    above = told[good][:, None] - told[~good][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean()) if above.size else float("nan")


def held_out(cases: Sequence[Case]) -> NDArray[np.float64]:
    """The probability of each, by weights of the other half."""
    half, told = np.array([case.half for case in cases]), np.zeros(len(cases))
    for part in (0, 1):
        weights = fitted([case for case in cases if case.half != part])
        told[half == part] = probabilities([case for case in cases if case.half == part], weights)
    return told


def table(cases: Sequence[Case], told: NDArray[np.float64]) -> list[str]:
    lines = [
        "| kind | good | called good, failed | not good | called good, failed | area |",
        "|---|---|---|---|---|---|",
    ]
    good, kind = np.array([case.good for case in cases]), np.array([case.kind for case in cases])
    for name in (*dict.fromkeys(kind.tolist()), "all"):
        part = np.ones(len(cases), bool) if name == "all" else kind == name
        cells = [name]
        for which in (part & good, part & ~good):
            cells += [str(which.sum()), f"{(told[which] >= GOOD).sum()}, {(told[which] < FAILED).sum()}"]
        lines.append("| " + " | ".join([*cells, f"{area(good[part], told[part]):.3f}"]) + " |")
    lines += ["", "| probability | cases | mean | good |", "|---|---|---|---|"]
    for low, high in pairwise(BINS):
        part = (told >= low) & ((told < high) | (high == 1))
        if part.any():
            lines.append(f"| {low:g} to {high:g} | {part.sum()} | {told[part].mean():.3f} | {good[part].mean():.3f} |")
    lines += ["", "Told wrongly, or in doubt:", ""]
    for number in np.argsort(told):
        case = cases[number]
        if (case.good and told[number] < GOOD) or (not case.good and told[number] >= FAILED):
            seen = f"{case.share:.2f} of {case.matches} matches, in {case.coverage:.2f} of the image"
            lines.append(f"- {told[number]:.2f}, {case.error:.2f} %: {case.kind}, {case.name}, {case.start}; {seen}")
    return lines


def of_places(cases: Sequence[Case]) -> str:
    """The weights of the map of confidence: those in use are right if a fit to what it told gives 0 and 1."""
    values, good, each = list[float](), list[bool](), list[float]()
    for case in cases:
        told = case.places.split()
        values += [float(word[:-1]) for word in told]
        good += [word[-1] == "+" for word in told]
        each += [1 / max(len(told), 1)] * len(told)
    chance = np.array(values).clip(0.001, 0.999)
    odds = np.log(chance / (1 - chance))
    shift, slope = fit(np.stack([np.ones(len(odds)), odds], 1), np.array(good), np.array(each))
    bins = [np.mean(np.array(good)[(chance >= a) & (chance < b)]) for a, b in pairwise(BINS)]
    told = ", ".join(f"{a:g} to {b:g}: {x:.2f}" for (a, b), x in zip(pairwise(BINS), bins, strict=True))
    weights = f"({shift + slope * LOCAL[0]:.2f}, {slope * LOCAL[1]:.2f})"
    return f"map of confidence, part of the landmarks that is good: {told}; weights fitted {weights}, in use {LOCAL}"


def read(path: Path) -> list[Case]:
    types = {field.name: field.type for field in fields(Case)}
    with path.open(newline="") as file:
        return [Case(**{name: types[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]


def measured(options: argparse.Namespace, path: Path) -> list[Case]:
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as name, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Case)])
        writer.writeheader()
        pairs = list(pairs_of(options.data, options.cases, Path(name), options.every))
        queue = [*pairs, *unrelated(pairs, options.data, options.unrelated)]
        for number in np.random.default_rng(0).permutation(len(queue)):  # what is there tells, wherever it is stopped
            pair = queue[number]
            for start, result in registrations(pair, Path(name)):
                cases.append(case_of(pair, start, result))
                writer.writerow(asdict(cases[-1]))
                file.flush()
                print(
                    f"{pair.kind}, {pair.name}, {start}: {cases[-1].error:.2f} %, {cases[-1].probability:.2f}",
                    flush=True,
                )
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.csv and OUT.md go")
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--unrelated", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="only every Nth pair")
    parser.add_argument("--again", action="store_true", help="the fit to the cases of OUT.csv")
    options = parser.parse_args()
    path = options.out.with_suffix(".csv")
    cases = read(path) if options.again else measured(options, path)
    told = held_out(cases)
    weights = ", ".join(f"{weight:.2f}" for weight in fitted(cases))
    lines = [*table(cases, told), "", f"weights fitted ({weights}), in use {WEIGHTS}", of_places(cases)]
    options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
