"""Which metric and which transform a pair bears out: half of its blocks drive a trial, the other half decides.

The image is cut into a checkerboard of blocks. A trial registers the pair by the black ones alone, at low resolution;
the field reaches the white ones by its smoothness only. What the two images have in common moves together, so the white
blocks agree better afterwards. What agreed by chance does not, and then the field had better stay as it was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.dense import dense
from cnnreg.engine.freeform import free_form
from cnnreg.engine.pyramid import Represent, fill, pyramid
from cnnreg.geometry.fields import warp
from cnnreg.geometry.resampling import shrink
from cnnreg.similarity.correlation import agreement

ALIKE = 0.8  # agreement in the sign of local correlations from which on local correlation is tried
SAME = 0.95  # and from which on, where local correlation gains nothing, nothing does
EQUAL = 0.3  # difference of two images, as a share of the fixed one's deviations: to here they show the same thing
KINDRED = 0.6  # and to here with the same contrast, for which local correlation needs no rival
TRIAL = 160  # pixels of the shortest side below which a trial is made
BLOCKS = 16  # along the shortest side
TRIAL_STEPS = 30  # iterations of a trial: fewer would say nothing, whatever number is wanted
CERTAIN = 5.0  # standard errors that the held-out blocks must gain
TELLING = 0.04  # nats a pixel that they must gain, too, where contrasts differ; shading comes to .03
LOCAL = 2.0  # standard errors of correlation that they must gain where contrasts are alike, but images not equal
AGREED, PLAIN = 0.6, 0.15  # then, too: correlation of the fields that both halves of the blocks want, or nats a pixel
SMOOTHER = 0.75  # of what the dense field gains: from here on the smoother one is as good
FEW = 8  # tiles
BINS = 24  # of the histogram that tells one intensity from the other


@dataclass(frozen=True)
class Choice:
    """Metric and transform, each "none" where nothing is borne out, and why."""

    similarity: str
    transform: str
    evidence: str = ""
    borne_out: bool = True


def choose(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None,
    config: RefinementConfig,
    *,
    pulled: bool,
    tentative: bool = False,
) -> Choice:
    """For a single pair (1, 1, H, W) what the configuration leaves open; ``pulled``: by landmarks, densely.

    The number of iterations does not decide: a trial has its own. A displacement that varies within a block cannot be
    borne out by others: ``tentative``, local correlation is then chosen all the same where contrasts are the same.
    """
    if config.similarity != "auto":
        transform = config.transform
        if transform == "auto":
            transform = "bspline" if config.similarity in {"mi", "learned"} and not pulled else "dense"
        return Choice(config.similarity, transform)
    alike = alikeness(fixed, moving, mask)
    if pulled:
        return Choice("lncc" if alike > ALIKE else "mind", "dense", "landmarks pull")
    trial, told = Trial(fixed, moving, mask, config, alike=alike > ALIKE), list[Gain]()
    for similarity, transform, least in CANDIDATES:
        if config.transform in {"auto", transform} and alike >= least and not _settled(told, alike, trial.difference):
            told.append(trial.gain(similarity, transform))
    evidence, borne_out = "; ".join(map(str, told)), [gain for gain in told if gain.real]
    if not borne_out:
        if tentative and alike >= SAME and told[0].similarity == "lncc":
            return Choice("lncc", "dense", evidence, borne_out=False)
        return Choice("none", "none", evidence)
    best = max(borne_out, key=lambda gain: gain.worth)
    return Choice(best.similarity, best.transform, evidence)


def alikeness(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> float:
    """1 where bright is bright in both images of a pair, -1 where contrast is inverted."""
    images = [shrink(image, 128) for image in (fixed, moving)]
    seen = None if mask is None else (shrink(mask, 128) > 0.99).float()
    return agreement(images[0], images[1], seen)


@dataclass(frozen=True)
class Gain:
    """What held-out blocks gain by a registration that they do not drive."""

    similarity: str
    transform: str
    mean: float  # nats a pixel
    errors: float  # the same in its standard errors
    same: float  # correlation of the fields that the two halves of the blocks drive
    local: float  # in correlation, in standard errors; infinite where contrasts differ
    difference: float = math.inf  # of the images before it

    @property
    def worth(self) -> float:
        """Against that of others: what both halves of the blocks want alike, and smoothly, is worth more."""
        return self.mean * max(self.same, 0.0) / (1.0 if self.transform == "dense" else SMOOTHER)

    @property
    def real(self) -> bool:
        """Whether it is beyond chance.

        Small windows find something nearly anywhere, but not the same in other blocks, nor with as much correlation.
        """
        if self.errors < CERTAIN:
            return False
        if self.similarity != "lncc":  # of intensities that change places correlation may fall
            return self.mean > TELLING and (self.local > LOCAL or self.same > AGREED)
        sure = self.same > AGREED or self.mean > PLAIN
        return self.local >= 0 and (self.difference < EQUAL or (self.local > LOCAL and sure))

    def __str__(self) -> str:
        local = "" if self.local == math.inf else f", {self.local:.1f} in correlation"
        gain = f"{self.similarity} with {self.transform}: held-out blocks gain {self.errors:.1f} standard errors{local}"
        return f"{gain}; the fields of both halves correlate by {self.same:.2f}"


def _settled(told: Sequence[Gain], alike: float, difference: float) -> bool:
    """Whether no other candidate is worth a trial: contrasts are the same, or so much alike that nothing gains."""
    return bool(told) and (difference < KINDRED or (alike > SAME and not any(gain.real for gain in told)))


CANDIDATES = (  # metric, transform, and how alike contrasts must be; in the order in which they are tried
    ("lncc", "dense", ALIKE),
    ("mi", "bspline", -1.0),
)


class Trial:
    """A pair at low resolution, on a checkerboard of blocks."""

    def __init__(
        self,
        fixed: Tensor,
        moving: Tensor,
        mask: Tensor | None,
        config: RefinementConfig,
        *,
        alike: bool = False,
        represent: Represent | None = None,
    ) -> None:
        layers = torch.cat([fixed, moving, torch.ones_like(fixed) if mask is None else mask], 1)
        while min(layers.shape[2:]) >= TRIAL:
            layers = F.avg_pool2d(fill(layers), 2)
        self.fixed, self.moving = layers[:, :1], layers[:, 1:2]
        self.alike, self.represent = alike, represent
        self.config, self.mask = config, (layers[:, 2:] > 0.99).to(layers)
        height, width = self.size = layers.shape[2], layers.shape[3]
        self.tile = max(min(self.size) // BLOCKS // 2, 3)
        self.tiles = height // self.tile, width // self.tile
        row, column = (torch.arange(n, device=layers.device) // (2 * self.tile) for n in (height, width))
        black = ((row[:, None] + column) % 2 == 0).to(layers)
        self.driving = self.mask * torch.stack([black, 1 - black])[:, None]

    def gain(self, similarity: str, transform: str) -> Gain:
        """Each half of the blocks drives a trial, both in one batch; the gains of the other half are pooled."""
        config = replace(self.config, similarity=similarity)
        fixed, moving = (image.expand(2, -1, -1, -1) for image in (self.fixed, self.moving))
        levels = pyramid(fixed, moving, self.driving, config, None, self.represent)
        run = partial(free_form, region=False) if transform == "bspline" else dense
        field = run(levels, {}, steps=TRIAL_STEPS, config=config, size=self.size).field
        warped, seen = warp(moving, field), F.avg_pool2d(self.driving.flip(0), self.tile) > 0.5
        (mean, errors) = _mean((self._told(warped) - self._told(moving))[seen])
        local = _mean((self._correlation(warped) - self._correlation(moving))[seen])[1] if self.alike else math.inf
        return Gain(similarity, transform, mean, errors, _likeness(*(field * self.mask)), local, self.difference)

    @cached_property
    def difference(self) -> float:
        """Mean absolute difference of the images by the mean absolute deviation of the fixed one."""
        one, other = (image[self.mask > 0] for image in (self.fixed, self.moving))
        if not len(one):
            return math.inf
        return ((one - other).abs().mean() / (one - one.median()).abs().mean().clamp_min(1e-9)).item()

    def _correlation(self, warped: Tensor) -> Tensor:
        """Of each tile, by how much structure the fixed image has there."""
        f, w, ff, ww, fw = self._means(self.fixed, warped, self.fixed**2, warped**2, self.fixed * warped)
        floor = self.config.floor
        own, other = (ff - f * f).clamp_min(0), (ww - w * w).clamp_min(0)
        return (fw - f * w) * ((own + floor) * (other + floor)).rsqrt() * (own / (own + floor))

    def _told(self, warped: Tensor) -> Tensor:
        """Mean logarithm, over each tile, of how much likelier the fixed intensity is by the warped one at its place.

        Rather than by any other of the same tile: that a tile is bright in both images, as shading has it, is no
        evidence. Told by the driving blocks: of intensities that go together there by chance, the others know nothing.
        """
        a, b = ((image.clamp(0, 1) * (BINS - 1)).round().long() for image in (self.fixed, warped))
        pairs, offsets = (a * BINS + b).flatten(1), torch.arange(BINS, device=a.device)
        joint = warped.new_zeros(len(warped), BINS * BINS).scatter_add_(1, pairs, self.driving.flatten(1))
        kernel = torch.exp(-(offsets[:, None] - offsets).square() / 2)
        joint = kernel @ joint.view(-1, BINS, BINS) @ kernel + 1e-3
        joint = joint / joint.sum((1, 2), keepdim=True)
        told = (joint / joint.sum(1, keepdim=True) / joint.sum(2, keepdim=True)).log()
        (value,) = self._means(told.flatten(1).gather(1, pairs).view_as(warped))
        return value - self._unpaired(told, a, b)

    def _unpaired(self, told: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The mean of ``told`` over all pairs of pixels of each tile, whatever their places."""
        one, other = (self._shares(x) for x in (a, b))
        return ((one @ told) * other).sum(2).view(len(told), 1, *self.tiles)

    def _shares(self, bins: Tensor) -> Tensor:
        """Of each bin in each tile, (B, tiles, BINS)."""
        height, width = (n * self.tile for n in self.tiles)
        rows, columns = (torch.arange(n, device=bins.device) // self.tile for n in (height, width))
        place = ((rows[:, None] * self.tiles[1] + columns) * BINS + bins[:, 0, :height, :width]).flatten(1)
        mask = self.mask[:, 0, :height, :width].flatten(1).expand(len(bins), -1)
        total = mask.new_zeros(len(bins), self.tiles[0] * self.tiles[1] * BINS).scatter_add_(1, place, mask)
        total = total.view(len(bins), -1, BINS)
        return total / total.sum(2, keepdim=True).clamp_min(1e-6)

    def _means(self, *images: Tensor) -> list[Tensor]:
        """Of the pixels of the mask in each tile."""
        share = F.avg_pool2d(self.mask, self.tile).clamp_min(1e-6)
        return [F.avg_pool2d(image * self.mask, self.tile) / share for image in images]


def _likeness(one: Tensor, other: Tensor) -> float:
    """Correlation of two fields (2, h, w): 1 where they are the same."""
    return ((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-9)).item()


def _mean(gains: Tensor) -> tuple[float, float]:
    """Of (N,), and the same in standard errors; few tell nothing."""
    if len(gains) < FEW:
        return 0.0, 0.0
    mean = gains.mean()
    return mean.item(), (mean / (gains.std() / math.sqrt(len(gains))).clamp_min(1e-9)).item()
