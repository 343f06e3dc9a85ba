"""Whether a registration went well, by evidence that needs no landmarks: do descriptors of both images now agree?

What lies in one place should look alike to descriptors that no contrast changes. Counted are the cells that are each
other's nearest; of a good registration many of them lie in the same place, of another one hardly any more than chance
puts there. The probability that the median error is below one per cent of the diagonal is a logistic function of the
share of these, and of their number, fitted by ``benchmarks/verdict.py``.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.engine.consensus import support
from cnnreg.engine.drawing import draw
from cnnreg.engine.matching import MIDDLE, REACH, Features, Matcher
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import sample

WEIGHTS = (-5.071, 5.540, 1.392)  # of 1, of the logarithm of the odds of the share, of the logarithm of the number
NEAR, ENOUGH = 2.0, 60  # times the reach: matches that may show a field; and how many of them say anything
GOOD, FAILED = 0.8, 0.25  # probabilities: from here on good; below, failed
FEW = 12  # matches: fewer are no evidence
SMOOTH = 24  # cells of a field along the longer side
CONFIDENCE_SIDE = 24  # cells of the map of confidence along the longer side


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a registration."""

    name: str  # "good", "check" or "failed"
    probability: float  # that the median error is below one per cent of the diagonal
    reasons: tuple[str, ...]  # sentences
    share: float  # of the matches of descriptors that lie in the same place
    matches: int
    confidence: NDArray[np.float32] | None = None  # (H, W) of the fixed image: where the result is supported, 0 to 1


@dataclass(frozen=True)
class Agreement:
    """Where cells of the fixed image find each other's nearest in the moving image, as it was laid onto it."""

    places: NDArray[np.float64]  # (N, 2) pixels of the fixed image, row and column
    offsets: NDArray[np.float64]  # (N, 2) from there to the nearest, in the same pixels
    reach: float  # pixels: what is further off does not agree
    size: tuple[int, int]  # of the fixed image

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
        moved = self._at(smooth[0].numpy())[near]
        if near.sum() < ENOUGH or not (moved**2).sum():
            return None
        return float((self.offsets[near] * moved).sum() / (moved**2).sum())

    def verdict(self, field: NDArray[np.float32]) -> Verdict:
        """What is to be thought of the images as a field (2, H, W) lays them onto each other."""
        off = np.linalg.norm(self.offsets - self._at(field), axis=1)
        values = support(torch.from_numpy(off), self.reach).numpy()
        count, share = len(off), float(values.sum()) / max(len(off), 1)
        probability = chance_of(share, count)
        name = "good" if probability >= GOOD else "failed" if probability < FAILED else "check"
        confidence = _confidence(self.places, values, self.size)
        return Verdict(name, probability, _reasons(name, share, count), share, count, confidence)

    def _at(self, field: NDArray[np.float32]) -> NDArray[np.float64]:
        if not len(self.places):
            return np.zeros((0, 2))
        points = torch.from_numpy(self.places.T.reshape(1, 2, 1, -1).astype(np.float32))
        return sample(torch.from_numpy(field)[None], points)[0, :, 0].T.double().numpy()


def compare(fixed: Tensor, aligned: Tensor, features: Features, *, spacing: tuple[float, float]) -> Agreement:
    """Of (1, 2, H, W) each, intensities in [0, 1] and masks; the moving image as it is aligned with the fixed one.

    Args:
        spacing: distance of rows and of columns.
    """
    drawn, own = draw(fixed, spacing)
    with torch.inference_mode():
        matcher = Matcher(drawn, _drawn_alike(aligned, fixed, spacing), features)
        _, matches, down = matcher.laid(Affine.identity(), side=MIDDLE)
    back = own.after(down.inverse())
    places, ends = (back(x.double().numpy()) for x in (matches.fixed, matches.moving))
    return Agreement(places, ends - places, REACH * back.size, (fixed.shape[2], fixed.shape[3]))


def _drawn_alike(warped: Tensor, fixed: Tensor, spacing: tuple[float, float]) -> Tensor:
    """The warped image and its mask, cut and drawn as the fixed image is."""
    parts = [draw(torch.cat([part, fixed[:, 1:]], 1), spacing)[0][:, :1] for part in (warped[:, :1], warped[:, 1:])]
    return torch.cat(parts, 1)


def chance_of(share: float, count: int) -> float:
    """The probability that the median error is below one per cent of the diagonal, from share and number of matches."""
    if count < FEW:
        return 0.0
    share = min(max(share, 1e-3), 1 - 1e-3)
    terms = (1.0, math.log(share / (1 - share)), math.log(count))
    return 1 / (1 + math.exp(-sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True))))


def _reasons(name: str, share: float, count: int) -> tuple[str, ...]:
    if count < FEW:
        return (f"the images have only {count} details that could be compared",)
    told = f"{share:.0%} of {count} details that look alike in both images lie in the same place"
    usual = {"good": "", "check": "; of good registrations, more do", "failed": ", about as many as by chance"}
    return (told + usual[name],)


def _confidence(places: NDArray[np.float64], values: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W): which part of the matches round about is in its place, times how many there are, 0 to 1."""
    shape = [max(1, round(n / max(size) * CONFIDENCE_SIDE)) for n in size]
    factors = np.array(shape) / np.array(size)
    cells = np.clip(((places + 0.5) * factors).astype(int), 0, np.array(shape) - 1)
    sums = np.zeros((2, *shape), np.float32)
    np.add.at(sums[0], (cells[:, 0], cells[:, 1]), values)
    np.add.at(sums[1], (cells[:, 0], cells[:, 1]), 1)
    smooth = F.avg_pool2d(torch.from_numpy(sums)[None], 3, 1, 1)
    part = smooth[:, :1] / (smooth[:, 1:] + 0.1)
    return F.interpolate(part, size=list(size), mode="bilinear", align_corners=False)[0, 0].numpy()
