"""Evidence for a registration that needs no landmarks: do descriptors of both images agree, all over the image?

What lies in one place should look alike to descriptors that no contrast changes. Counted are the cells that are each
other's nearest; of a good registration many of them lie in the same place, of another one hardly any more than chance
puts there. What they would still move is told by an affine map fitted to their offsets; and whether they tell the same
by maps fitted to one half of the image and to the other, which must agree everywhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.engine.consensus import LEAST, support
from cnnreg.engine.drawing import draw
from cnnreg.engine.matching import REACH, Features, Matcher
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import sample
from cnnreg.similarity.filters import Blur

Array = NDArray[np.float64]
NEAR, ENOUGH = 2.0, 60  # times the reach: matches that may show a field; and how many of them say anything
SMOOTH = 24  # cells of a field along the longer side
DOUBT = 0.45  # share of the matches that agree: of less, noise may be the cause, and smoothed images are looked at
BLUR = 3.0  # pixels of MIDDLE: deviation of the Gaussian that smooths
BLOCKS, GRID = 8, 10  # along either side: to count what carries evidence; places where maps are compared
FEW_IN_HALF = 10  # matches
LOST = 0.1  # of the diagonal: what is told where nothing can be fitted
RIDGE = 0.3  # matches: by so many are turns and scales held towards none


@dataclass(frozen=True)
class Evidence:
    """What speaks for a registration, and against it. Lengths in pixels of the fixed image."""

    share: float  # of the matches of descriptors that lie in the same place, the nearer the more
    matches: int
    residual: float  # how far the map fitted to the offsets of the matches would still move the image, median
    inconsistency: float  # by how much the maps fitted to two halves of the image differ, median of the worst division
    coverage: float  # share of the image in which matches lie in the same place
    diagonal: float  # of the fixed image


@dataclass(frozen=True)
class Agreement:
    """Where cells of the fixed image find each other's nearest in the moving image, as it was laid onto it."""

    places: Array  # (N, 2) pixels of the fixed image, row and column
    offsets: Array  # (N, 2) from there to the nearest, in the same pixels
    reach: float  # pixels: what is further off does not agree
    size: tuple[int, int]  # of the fixed image
    area: Array  # (K, 2) places all over what both images show

    def explained(self, field: NDArray[np.float32]) -> float | None:
        """Which part of a field (2, H, W) the offsets show, too: about 1 of a true one, 0 of one that is unrelated.

        The regression of the offsets on the field, smoothed to what cells can show; of matches that are near, as far
        ones are wrong. None if there are too few.
        """
        near = np.linalg.norm(self.offsets, axis=1) < NEAR * self.reach
        shape = [max(2, round(n / max(self.size) * SMOOTH)) for n in self.size]
        whole = torch.from_numpy(field)[None]
        smooth = F.interpolate(whole, size=shape, mode="bilinear", antialias=True, align_corners=False)
        smooth = F.interpolate(smooth, size=list(self.size), mode="bilinear", align_corners=False)
        moved = _at(smooth[0].numpy(), self.places)[near]
        if near.sum() < ENOUGH or not (moved**2).sum():
            return None
        return float((self.offsets[near] * moved).sum() / (moved**2).sum())

    def left(self, field: NDArray[np.float32]) -> Array:
        """The offsets (N, 2) that a field (2, H, W) leaves."""
        return self.offsets - _at(field, self.places)

    def support(self, left: Array) -> Array:
        """Of each match (N,), 0 to 1: how near it is to its place."""
        return support(torch.from_numpy(np.linalg.norm(left, axis=1)), self.reach).numpy()

    def evidence(self, field: NDArray[np.float32]) -> Evidence:
        """For the images as a field (2, H, W) lays them onto each other."""
        left, count = self.left(field), len(self.places)
        values, diagonal = self.support(left), float(np.hypot(*self.size))
        whole = self._carried_on(left, np.ones(count, bool))
        halves = [[self._carried_on(left, half) for half in (part, ~part)] for part in self._divisions()]
        return Evidence(
            float(values.sum()) / max(count, 1),
            count,
            LOST * diagonal if whole is None else _median(whole),
            max(LOST * diagonal if a is None or b is None else _median(a - b) for a, b in halves),
            self._coverage(values),
            diagonal,
        )

    def _divisions(self) -> list[NDArray[np.bool_]]:
        """Which matches (N,) are in one half of the image: by a checkerboard; left or right; upper or lower."""
        if not len(self.places):
            return [np.zeros(0, bool)]
        blocks = (self.places / self.size * BLOCKS).astype(int).sum(1)
        return [blocks % 2 == 0, *(side < np.median(side) for side in self.places.T)]

    def _carried_on(self, left: Array, part: NDArray[np.bool_]) -> Array | None:
        """The affine map that fits best to the offsets of a part, as offsets (K, 2) all over the area."""
        if part.sum() < FEW_IN_HALF:
            return None
        middle, spread = self.places.mean(0), self.places.std() + 1e-9
        here, goal = (np.c_[(x - middle) / spread, np.ones(len(x))] for x in (self.places[part], self.area))
        own, fit, ridge = left[part], np.zeros((3, 2)), RIDGE * np.diag([1.0, 1.0, 0.01])
        for reach in (2.0, 2.0, 1.0, 1.0):  # of those that are nearer to it, in turn
            off = own - here @ fit
            weights = (1 - (off * off).sum(1) / (reach * self.reach) ** 2).clip(0)
            if np.count_nonzero(weights) < LEAST:
                return None
            weighted = (here * weights[:, None]).T
            fit = np.linalg.solve(weighted @ here + ridge, weighted @ own)
        return goal @ fit

    def _coverage(self, values: Array) -> float:
        """Which part of the area lies in blocks in which matches agree, more than two of a few."""
        cells = (np.concatenate([self.places, self.area]) / self.size * BLOCKS).astype(int).clip(0, BLOCKS - 1)
        index, count = cells @ [BLOCKS, 1], len(self.places)
        found = np.bincount(index[:count], minlength=BLOCKS**2)
        agreeing = np.bincount(index[:count], values, minlength=BLOCKS**2)
        carries = (agreeing >= 2) & (agreeing > 0.2 * found)
        return float(carries[index[count:]].mean()) if len(self.area) else 0.0


def _median(offsets: Array) -> float:
    return float(np.median(np.linalg.norm(offsets, axis=1)))


def _at(field: NDArray[np.float32], places: Array) -> Array:
    if not len(places):
        return np.zeros((0, 2))
    points = torch.from_numpy(places.T.reshape(1, 2, 1, -1).astype(np.float32))
    return sample(torch.from_numpy(field)[None], points)[0, :, 0].T.double().numpy()


@dataclass(frozen=True)
class Comparison:
    """The fixed image and the moving one as it is aligned with it, (1, 2, H, W) each: intensities in [0, 1], masks."""

    fixed: Tensor
    aligned: Tensor
    features: Features
    spacing: tuple[float, float]  # distance of rows and of columns

    @cached_property
    def agreement(self) -> Agreement:
        """Of the images as they are."""
        return self._matched(0.0)

    @cached_property
    def smoothed(self) -> Agreement:
        """Of both images smoothed: noise hides from descriptors what is larger than it."""
        return self._matched(BLUR)

    def judged(self, field: NDArray[np.float32]) -> tuple[Agreement, Evidence]:
        """What speaks for a field (2, H, W): of the images as they are, or smoothed where that tells more."""
        found = self.agreement, self.agreement.evidence(field)
        if found[1].share >= DOUBT:
            return found
        other = self.smoothed, self.smoothed.evidence(field)
        return max(found, other, key=lambda one: one[1].share)

    def _matched(self, blur: float) -> Agreement:
        drawn, own = draw(self.fixed, self.spacing)
        aligned = _drawn_alike(self.aligned, self.fixed, self.spacing)
        with torch.inference_mode():
            matcher = Matcher(drawn, aligned, _after(blur, self.features))
            _, matches, down = matcher.laid(Affine.identity())
        back = own.after(down.inverse())
        places, ends = (back(x.double().numpy()) for x in (matches.fixed, matches.moving))
        size = self.fixed.shape[2], self.fixed.shape[3]
        return Agreement(places, ends - places, REACH * back.size, size, _area(self.aligned[:, 1:]))


def _after(blur: float, features: Features) -> Features:
    """Descriptors of images that are smoothed first."""
    return features if not blur else lambda images: features(Blur(images, blur)(images))


def _area(mask: Tensor) -> Array:
    """Places of a grid, in the middle of cells of which a third and more counts."""
    counts = F.adaptive_avg_pool2d(mask, GRID)[0, 0].numpy() > 1 / 3
    return (np.argwhere(counts) + 0.5) * np.array(mask.shape[2:]) / GRID - 0.5


def _drawn_alike(warped: Tensor, fixed: Tensor, spacing: tuple[float, float]) -> Tensor:
    """The warped image and its mask, cut and drawn as the fixed image is."""
    parts = [draw(torch.cat([part, fixed[:, 1:]], 1), spacing)[0][:, :1] for part in (warped[:, :1], warped[:, 1:])]
    return torch.cat(parts, 1)
