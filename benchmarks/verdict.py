"""Fit the probability of the verdict, and show how well it tells good registrations from others.

    python benchmarks/verdict.py ../shared/data --out verdict [--unrelated 80]

Every development pair of any_pair as it is aligned by the descriptors, with and without a shift of 2 to 8 % of the
diagonal on top; and images that have nothing to do with each other, half of them of one kind, laid onto each other as
well as it goes. A case is good where the median distance of the landmarks is below 1 % of the diagonal. A logistic
function of the share and the number of matches is fitted to the even cases and told for the odd ones, and the other way
round: area under the curve, and how many that are not good are called so. Writes OUT.csv.
"""

import argparse
import csv
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from any_pair import DevelopmentPair, development_pairs
from scipy.optimize import minimize

from cnnreg.config import preset
from cnnreg.engine.matching import Matcher
from cnnreg.engine.verdict import FAILED, FEW, GOOD
from cnnreg.engine.views import as_given
from cnnreg.geometry.affine import Affine
from cnnreg.learning.features.describing import load_features
from cnnreg.pipeline.loading import Request, load_aligned
from cnnreg.pipeline.setup import Stopwatch

SQUARE = ((1.0, 1.0), (1.0, 1.0))


@dataclass(frozen=True)
class Case:
    """What the verdict sees of a registration, and whether it is good."""

    what: str
    share: float
    count: int
    good: bool


def related(pair: DevelopmentPair, random: np.random.Generator) -> Iterator[Case]:
    """A pair as it is aligned, and displaced from there."""
    config = preset("default")
    aligned, initial = load_aligned(Request(pair.fixed, pair.moving), config, Stopwatch())
    diagonal = float(np.hypot(*aligned.moving.grid.size))
    seen = [torch.cat([x, torch.ones_like(x)], 1) for x in (aligned.fixed_input, aligned.moving_own)]
    for percent in (0.0, *random.uniform(2, 8, 2)):
        angle = random.uniform(0, 2 * math.pi)
        shift = percent / 100 * diagonal * np.array([math.sin(angle), math.cos(angle)])
        affine = Affine(initial.affine.matrix, initial.affine.offset + shift)
        errors = np.linalg.norm(affine(pair.points[0]) - pair.points[1], axis=1)
        share, count = judged(seen[0], seen[1], affine)
        yield Case(f"{pair.name} + {percent:.1f} %", share, count, bool(np.median(errors) < 0.01 * diagonal))


def judged(fixed: torch.Tensor, moving: torch.Tensor, affine: Affine) -> tuple[float, int]:
    """Share and number of the matches that agree on a map."""
    view = as_given(fixed, moving, affine, SQUARE)
    with torch.inference_mode():
        matcher = Matcher(view.fixed, view.moving, load_features("universal-2d"))
        found, matches, _ = matcher.laid(view.start)
    return found.share, len(matches.weights)


def unrelated(one: DevelopmentPair, other: DevelopmentPair) -> Case | None:
    """The fixed image of one pair and the moving image of another, laid onto each other as well as it goes."""
    aligned, _ = load_aligned(Request(one.fixed, one.fixed), preset("paper"), Stopwatch())
    another, _ = load_aligned(Request(other.moving, other.moving), preset("paper"), Stopwatch())
    fixed, moving = (torch.cat([x.fixed_input, torch.ones_like(x.fixed_input)], 1) for x in (aligned, another))
    view = as_given(fixed, moving, Affine.identity(), SQUARE)
    with torch.inference_mode():
        matcher = Matcher(view.fixed, view.moving, load_features("universal-2d"))
        found = [matcher.laid(one.affine) for one in matcher.anywhere(view.start)[:3]]
        if not found:
            return None
        best = matcher.closer(max(found, key=lambda laid: laid.found.evidence))
    share, count = judged(fixed, moving, view.own(best.found.affine))
    return Case(f"{one.name} with {other.name}", share, count, good=False)


def terms(cases: list[Case]) -> np.ndarray:
    """Of the logistic function: 1, logarithm of the odds of the share, logarithm of the number."""
    share = np.clip([case.share for case in cases], 1e-3, 1 - 1e-3)
    return np.stack([np.ones(len(cases)), np.log(share / (1 - share)), np.log([max(c.count, 1) for c in cases])], 1)


def fit(cases: list[Case]) -> np.ndarray:
    """Weights, held a little towards 0, so that cases that are told apart wholly do not make them infinite."""
    values, good = terms(cases), np.array([case.good for case in cases])

    def loss(weights: np.ndarray) -> float:
        return float(
            np.logaddexp(0, np.where(good, -1, 1) * (values @ weights)).sum() + 0.05 * (weights[1:] ** 2).sum()
        )

    return minimize(loss, np.zeros(3)).x


def probability(cases: list[Case], weights: np.ndarray) -> np.ndarray:
    enough = np.array([case.count >= FEW for case in cases])
    return enough / (1 + np.exp(-terms(cases) @ weights))


def area(cases: list[Case], chance: np.ndarray) -> float:
    """Under the curve: how often a good case has the higher probability."""
    good = np.array([case.good for case in cases])
    above = chance[good][:, None] - chance[~good][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.csv goes")
    parser.add_argument("--unrelated", type=int, default=80)
    options = parser.parse_args()
    pairs, numbers = list(development_pairs(options.data)), np.random.default_rng(0)
    cases = [case for pair in pairs for case in related(pair, numbers)]
    chance = random.Random(0)
    for k in range(options.unrelated):
        one = chance.choice(pairs)
        others = [pair for pair in pairs if pair.kind == one.kind] if k % 2 else pairs
        other = chance.choice([p for p in others if p.name[-3:] != one.name[-3:] or not p.kind.startswith("mr")])
        if other is not one and (case := unrelated(one, other)):
            cases.append(case)
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(cases[0])))
        writer.writeheader()
        writer.writerows(asdict(case) for case in cases)
    halves = cases[::2], cases[1::2]
    held_out = [(part, probability(part, fit(rest))) for part, rest in (halves, halves[::-1])]
    told = [case for part, _ in held_out for case in part]
    chances = np.concatenate([values for _, values in held_out])
    bad = np.array([not case.good for case in told])
    print(f"{len(told)} cases, {bad.sum()} of them not good; held out: area under the curve {area(told, chances):.3f}")
    for name, part in (("not good", chances[bad]), ("good", chances[~bad])):
        print(f"of those that are {name}: called good {(part >= GOOD).mean():.1%}, failed {(part < FAILED).mean():.1%}")
    for case, value in sorted(zip(told, chances, strict=True), key=lambda both: -both[1]):
        if (not case.good and value >= FAILED) or (case.good and value < GOOD):
            print(f"{'good' if case.good else 'not good'}: {value:.2f} {case}")
    print("weights:", np.round(fit(cases), 3).tolist())


if __name__ == "__main__":
    main()
