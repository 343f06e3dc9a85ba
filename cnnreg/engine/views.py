"""Ways to look at a pair before it is aligned: as the headers say, stretched image to image, mirrored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine.alignment import Candidate, climb, distance, score
from cnnreg.engine.drawing import draw
from cnnreg.engine.search import Place, search, shifts, sizes_of
from cnnreg.geometry.affine import Affine

Spacing = Sequence[float]  # of rows and of columns
UNLIKE = 1.2  # ratio of the images' aspect ratios from which the one may be the other stretched

NEAR = 0.15  # of the longer side: no further do maps differ that are about the same
BETTER = 1.1  # times the score of the next best place


@dataclass(frozen=True)
class View:
    """Both images drawn with square pixels, so that what the headers say, or a stretch, is a turn, size and shift."""

    fixed: Tensor  # (1, 2, h, w) each
    moving: Tensor
    forth: Affine  # the fixed image's pixels to the drawn ones
    back: Affine  # drawn pixels to the moving image's
    start: Affine  # between the drawn ones: where to begin

    def score(self, affine: Affine) -> float:
        """How well a map between the images' own pixels does."""
        return score(self.fixed, self.moving, self.drawn(affine))

    def near(self, kind: str) -> tuple[list[Candidate], bool]:
        """The best maps about the start's size: from the start itself, its shifts, and every turn and shift.

        And whether, of all turns and shifts, none is as good as staying about there.
        """
        sizes = [1 / self.start.size]
        if kind != "rigid":
            sizes = sizes_of(self.fixed, self.moving, self.start.size, factors=[1.0])
        with torch.inference_mode():
            found = search(self.fixed, self.moving, sizes=sizes)
            moved = shifts(self.fixed, self.moving, self.start)
        starts = [self.start, *moved, *(place.affine for place in found)]
        return self._climbed(starts, kind), self._in_place(found)

    def anywhere(self, kind: str) -> list[Candidate]:
        """The best maps of every turn, shift and size; of rigid ones the start's."""
        size = self.start.size
        sizes = [1 / size] if kind == "rigid" else sizes_of(self.fixed, self.moving, size)
        with torch.inference_mode():
            found = search(self.fixed, self.moving, sizes=sizes)
        return self._climbed([self.start, *(place.affine for place in found)], kind)

    def _in_place(self, found: list[Place]) -> bool:
        scores = {True: [0.0], False: [0.0]}
        for place in found:
            scores[is_near(place.affine, self.start, self.fixed)].append(place.score)
        return max(scores[True]) > BETTER * max(scores[False])

    def _climbed(self, starts: list[Affine], kind: str) -> list[Candidate]:
        found = climb(self.fixed, self.moving, starts, kind=kind)
        return [Candidate(self.own(c.affine), c.score) for c in found]

    def own(self, affine: Affine) -> Affine:
        """A map between the drawn images as one between their own pixels."""
        return self.back.after(affine).after(self.forth)

    def drawn(self, affine: Affine) -> Affine:
        """A map between the images' own pixels as one between the drawn ones."""
        return self.back.inverse().after(affine).after(self.forth.inverse())


def is_near(affine: Affine, start: Affine, fixed: Tensor) -> bool:
    """Whether a map is about another one, of fixed pixels."""
    return distance(affine, start, fixed) < NEAR * max(fixed.shape[2:])


def as_given(fixed: Tensor, moving: Tensor, given: Affine, spacings: tuple[Spacing, Spacing]) -> View:
    """With square pixels, from where the headers put the images; a mirror image if they say so."""
    return _view(fixed, moving, spacings, given)


def mirrored(fixed: Tensor, moving: Tensor, given: Affine, spacings: tuple[Spacing, Spacing]) -> View:
    """Left to right, against what the headers say."""
    across = Affine(np.diag([1.0, -1.0]), np.array([0.0, moving.shape[3] - 1.0]))
    return _view(fixed, moving, spacings, across.after(given))


def stretched(fixed: Tensor, moving: Tensor, spacings: tuple[Spacing, Spacing]) -> View | None:
    """The moving image stretched to the fixed one's aspect ratio; None if that is about its own."""
    sides = [np.array(x.shape[2:]) * s for x, s in zip((fixed, moving), spacings, strict=True)]
    ratio = float(sides[0][0] / sides[0][1] / (sides[1][0] / sides[1][1]))
    if max(ratio, 1 / ratio) < UNLIKE:
        return None
    root = math.sqrt(ratio)
    shape = [spacings[1][0] * root, spacings[1][1] / root]
    factors = np.array(moving.shape[2:]) / np.array(fixed.shape[2:])
    fill = Affine(np.diag(factors), factors / 2 - 0.5)
    return _view(fixed, moving, (spacings[0], shape), fill)


def _view(fixed: Tensor, moving: Tensor, spacings: tuple[Spacing, Spacing], start: Affine) -> View:
    """``start`` is between the images' own pixels; where it mirrors, the moving image is drawn mirrored."""
    low_fixed, own_fixed = draw(fixed, spacings[0])
    flip = Affine.identity()
    if np.linalg.det(start.matrix) < 0:
        moving = moving.flip(3)
        flip = Affine(np.diag([1.0, -1.0]), np.array([0.0, moving.shape[3] - 1.0]))
    low_moving, own_moving = draw(moving, spacings[1])
    back, forth = flip.after(own_moving), own_fixed.inverse()
    return View(low_fixed, low_moving, forth, back, back.inverse().after(start).after(own_fixed))
