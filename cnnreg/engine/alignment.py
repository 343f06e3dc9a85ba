"""Global alignment: affine maps climb the squared local correlation, coarse to fine, and compete under one score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine.drawing import sample, scaled, shrinking, shrunk_by, whole
from cnnreg.geometry.affine import Affine, Array
from cnnreg.geometry.fields import pixel_grid
from cnnreg.similarity.correlation import Correlation, MaskedWindows, local_windows
from cnnreg.similarity.filters import edges, gradient

Level = tuple[int, int, int]  # longer side, steps, candidates
LEVELS: tuple[Level, ...] = ((72, 6, 30), (72, 9, 10), (144, 15, 4), (196, 8, 2))
HOPELESS = 0.5  # of the best score: what has less at one level does not climb on
FINEST = LEVELS[-1][0]
LEAST_OVERLAP = 0.125  # of the smaller image
ALIKE = 0.04  # of the image's length: maps that are closer than this are one candidate
WINDOW, FLOOR = 15, 1e-3  # of the local correlation
EDGE_WEIGHTS = (0.5, 0.5)  # of intensities and edges
STRETCH = 1.6  # between the axes, at most
LONGEST, SHORTEST = 3.0, 0.02  # pixels: no step takes any pixel further; what takes none so far is the last
BASES = {  # what a step may be: columns of (row by row, row by column, row, column by row, column by column, column)
    "affine": torch.eye(6),
    "similarity": torch.tensor([[1.0, 0, 0, 0, 1, 0], [0, 1, 0, -1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).T,
    "rigid": torch.tensor([[0.0, 1, 0, -1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).T,
}


@dataclass(frozen=True)
class Candidate:
    """An affine map from fixed to moving pixels, and how well it lays the one onto the other, 0 to 1."""

    affine: Affine
    score: float


def climb(
    fixed: Tensor, moving: Tensor, starts: list[Affine], *, kind: str, levels: Sequence[Level] = LEVELS
) -> list[Candidate]:
    """The best maps to be reached from any of ``starts``, coarse to fine, each unlike the others; best first.

    Args:
        fixed, moving: (1, 2, H, W) and (1, 2, h, w), drawn with square pixels: intensities in [0, 1], and a mask.
        starts: maps from fixed to moving pixels.
        kind: what may change: "affine", "similarity" (turn, size, shift) or "rigid" (turn and shift).
        levels: longer side, steps and number of candidates of each.
    """
    candidates, left = [Candidate(start, 1.0) for start in starts], list[Candidate]()
    with torch.inference_mode():
        for side, steps, count in levels:
            level = _Level(fixed, moving, side)
            climbed = [level.climb(c.affine, steps=steps, kind=kind) for c in candidates[:count]]
            climbed = ranked(climbed, fixed)
            candidates = [c for c in climbed if c.score > HOPELESS * climbed[0].score] or climbed[:1]
            left += [c for c in climbed if c not in candidates]
    return ranked(candidates + left, fixed)


def score(fixed: Tensor, moving: Tensor, affine: Affine) -> float:
    """How well ``affine`` lays the images onto each other, to be compared with that of a :class:`Candidate`."""
    with torch.inference_mode():
        return _Level(fixed, moving, FINEST).climb(affine, steps=0, kind="affine").score


def ranked(candidates: list[Candidate], fixed: Tensor) -> list[Candidate]:
    """Best first, less those that are close to a better one."""
    reach = ALIKE * math.sqrt(math.prod(fixed.shape[2:]))
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.score):
        if all(distance(candidate.affine, other.affine, fixed) > reach for other in kept):
            kept.append(candidate)
    return kept


def distance(affine: Affine, other: Affine, fixed: Tensor) -> float:
    """Mean over corners, sides and middle of how far apart two maps take them, in pixels of the fixed image."""
    height, width = fixed.shape[2:]
    points = np.array([[y, x] for y in (0, height / 2, height - 1) for x in (0, width / 2, width - 1)])
    return float(np.linalg.norm(other.inverse().after(affine)(points) - points, axis=1).mean())


class _Level:
    """Two images at a resolution of ``side`` pixels along the fixed one's longer side."""

    def __init__(self, fixed: Tensor, moving: Tensor, side: int) -> None:
        self.moving, self.shrink = moving, shrinking(fixed, side)
        low, self.down = scaled(fixed, self.shrink)
        self.parts, self.mask = _with_edges(low[:, :1]), whole(low[:, 1:])
        self.area = self.mask.sum().item()
        self.windows = local_windows(low, window=max(WINDOW, side // 10))
        self.grid = pixel_grid(low)
        self.drawn: dict[float, tuple[Tensor, Affine]] = {}

    @cached_property
    def middle(self) -> Array:
        return (np.array(self.grid.shape[2:]) - 1) / 2

    @cached_property
    def radius(self) -> float:
        return max(self.grid.shape[2:]) / 2

    @cached_property
    def powers(self) -> Tensor:
        """Row, column and 1, of which affine maps consist, (3, h, w)."""
        centred = (self.grid - torch.from_numpy(self.middle).to(self.grid).view(1, 2, 1, 1)) / self.radius
        return torch.cat([centred, torch.ones_like(self.grid[:, :1])], 1)[0]

    def moving_at(self, size: float) -> tuple[Tensor, Affine]:
        """The moving image with pixels of about this level's size, and the map to them from its own."""
        factor = 2 ** (round(8 * math.log2(min(self.shrink / size, 1.0))) / 8)
        if factor not in self.drawn:
            self.drawn[factor] = scaled(self.moving, factor, least=16)
        return self.drawn[factor]

    def climb(self, start: Affine, *, steps: int, kind: str) -> Candidate:
        """The best map on the way of ``steps`` Newton steps from ``start``."""
        moving, down = self.moving_at(start.size)
        here, best = down.after(start).after(self.down.inverse()), Candidate(start, 0.0)
        area = whole(moving[:, 1:]).sum().item()
        for step in range(steps + 1):
            points = here.at(self.grid)
            warped = _with_edges(sample(moving[:, :1], points, outside="border"))
            seen = shrunk_by(whole(sample(moving[:, 1:], points, outside="zeros")), 1) * self.mask
            value = self._score(here, seen.sum().item(), area)
            if not value:
                break
            measure = Correlation(
                self.parts, EDGE_WEIGHTS, MaskedWindows(self.windows, seen), signed=False, flat=False, floor=FLOOR
            )
            similarity, slope, curvature = measure(warped)
            value *= similarity.item()
            if value > best.score:
                best = Candidate(down.inverse().after(here).after(self.down), value)
            if step == steps:
                break
            change = _newton(slope, curvature, warped, self.powers, BASES[kind])
            length = np.abs(change).sum()
            if length < SHORTEST:
                break
            change *= LONGEST / max(length, LONGEST)
            matrix = np.eye(2) + change[:, :2] / self.radius
            here = here.after(Affine(matrix, change[:, 2] + self.middle - matrix @ self.middle))
        return best

    def _score(self, here: Affine, covered: float, area: float) -> float:
        """What the similarity, the mean squared local correlation of images and edges, is worth; 0 if nothing.

        The root of the part of the smaller image that the other covers, and the fourth root of that of the fixed one:
        what overlaps less does not gain by it, and few pixels are little evidence. Of images, only what counts counts.
        """
        share = covered / max(min(self.area, area / here.size**2), 1.0)
        stretch = np.linalg.svd(here.matrix, compute_uv=False)
        if share < LEAST_OVERLAP or stretch[0] > STRETCH * stretch[1]:
            return 0.0
        return float(min(share, 1.0) ** 0.5 * min(covered / self.area, 1.0) ** 0.25)


def _newton(slope: Tensor, curvature: Tensor, warped: Tensor, powers: Tensor, basis: Tensor) -> Array:
    """The step (2, 3), of ``powers``, towards a higher similarity: Gauss and Newton's, slightly damped."""
    along = torch.stack(gradient(warped), 2)[0]  # (C, 2, h, w)
    parts = (along[:, :, None] * powers).flatten(1, 2).transpose(0, 1).flatten(1)  # derivatives by the six numbers
    force = parts @ slope[0].flatten()
    stiffness = (parts * curvature[0].flatten()) @ parts.T
    force, stiffness = (basis.T @ force).double(), (basis.T @ stiffness @ basis).double()
    stiffness += torch.diag(0.01 * stiffness.diagonal() + 1e-12)
    return (basis.double() @ torch.linalg.solve(stiffness, force)).view(2, 3).numpy()


def _with_edges(image: Tensor) -> Tensor:
    return torch.cat([image - 0.5, edges(image)], 1)
