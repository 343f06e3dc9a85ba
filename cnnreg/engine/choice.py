"""Which metric and which transform a pair bears out: half of its blocks drive a trial, the other half decides.

The image is cut into a checkerboard of blocks. A trial registers the pair by the black ones alone, at low resolution;
the field reaches the white ones by its smoothness only. What the two images have in common moves together, so the white
blocks agree better afterwards. What agreed by chance does not, and then the field had better stay as it was.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

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
SAME = 0.95  # and from which on the contrast is the same, and nothing else is tried
TRIAL = 192  # pixels of the shortest side below which a trial is made
BLOCKS = 16  # along the shortest side
TRIAL_STEPS = 30  # iterations of a trial: fewer would say nothing, whatever number is wanted
CERTAIN = 5.0  # standard errors that the held-out blocks must gain
TELLING = 0.04  # nats a pixel that they must gain, too, where contrasts differ; shading comes to .03
FUTILE = 2.0  # standard errors of loss on one half that need no second look
FEW = 8  # tiles
BINS = 24  # of the histogram that tells one intensity from the other


@dataclass(frozen=True)
class Choice:
    """Metric and transform, each "none" where nothing is borne out, and why."""

    similarity: str
    transform: str
    evidence: str = ""


def choose(fixed: Tensor, moving: Tensor, mask: Tensor | None, config: RefinementConfig, *, pulled: bool) -> Choice:
    """For a single pair (1, 1, H, W) what the configuration leaves open; ``pulled``: by landmarks, densely.

    The number of iterations does not decide: a trial has its own.
    """
    if config.similarity != "auto":
        transform = config.transform
        if transform == "auto":
            transform = "bspline" if config.similarity in {"mi", "learned"} and not pulled else "dense"
        return Choice(config.similarity, transform)
    alike = alikeness(fixed, moving, mask)
    if pulled:
        return Choice("lncc" if alike > ALIKE else "mind", "dense", "landmarks pull")
    candidates = [("mi", "bspline")] if alike < SAME else []
    if alike > ALIKE:
        candidates = [("lncc", "dense"), *candidates]
    trial = Trial(fixed, moving, mask, config, steps=TRIAL_STEPS)
    told = [trial.gain(*candidate) for candidate in candidates if config.transform in {"auto", candidate[1]}]
    borne_out = [gain for gain in told if gain.real]
    evidence = "; ".join(map(str, told))
    if not borne_out:
        return Choice("none", "none", evidence)
    best = max(borne_out, key=lambda gain: gain.mean)
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
    local: float = math.inf  # in correlation, in standard errors; infinite where it does not matter

    @property
    def real(self) -> bool:
        """Whether it is beyond chance; where local correlation drives, this must not fall either."""
        telling = self.similarity == "lncc" or self.mean > TELLING
        return self.errors > CERTAIN and telling and self.local > 0

    def __str__(self) -> str:
        local = "" if self.local == math.inf else f", {self.local:.1f} in correlation"
        return f"{self.similarity} with {self.transform}: held-out blocks gain {self.errors:.1f} standard errors{local}"


class Trial:
    """A pair at low resolution, on a checkerboard of blocks."""

    def __init__(
        self,
        fixed: Tensor,
        moving: Tensor,
        mask: Tensor | None,
        config: RefinementConfig,
        *,
        steps: int = TRIAL_STEPS,
        represent: Represent | None = None,
    ) -> None:
        layers = torch.cat([fixed, moving, torch.ones_like(fixed) if mask is None else mask], 1)
        while min(layers.shape[2:]) >= TRIAL:
            layers = F.avg_pool2d(fill(layers), 2)
        self.fixed, self.moving = layers[:, :1], layers[:, 1:2]
        self.steps, self.represent = steps, represent
        self.config, self.mask = config, (layers[:, 2:] > 0.99).to(layers)
        height, width = self.size = layers.shape[2], layers.shape[3]
        self.tile = max(min(self.size) // BLOCKS // 2, 3)
        row, column = (torch.arange(n, device=layers.device) // (2 * self.tile) for n in (height, width))
        black = ((row[:, None] + column) % 2 == 0).to(layers)
        self.halves = self.mask * black, self.mask * (1 - black)

    def gain(self, similarity: str, transform: str) -> Gain:
        """One half of the blocks is held out; unless that tells against it, the other one, too."""
        found: list[tuple[Tensor, Tensor]] = []
        for driving, held in (self.halves, self.halves[::-1]):
            found.append(self._gains(similarity, transform, driving, held))
            likelihood, correlation = (torch.cat(parts) for parts in zip(*found, strict=True))
            mean, errors = _mean(likelihood)
            if errors < -FUTILE:
                break
        return Gain(similarity, transform, mean, errors, _mean(correlation)[1] if similarity == "lncc" else math.inf)

    def _gains(self, similarity: str, transform: str, driving: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """Of the tiles that are held out, (N,), in likelihood and in correlation."""
        config = replace(self.config, similarity=similarity)
        levels = pyramid(self.fixed, self.moving, driving, config, None, self.represent)
        run = partial(free_form, region=False) if transform == "bspline" else dense
        field = run(levels, {}, steps=self.steps, config=config, size=self.size).field
        seen, warped = F.avg_pool2d(held, self.tile) > 0.5, warp(self.moving, field)
        likelihood = self._likelihood(warped, driving) - self._likelihood(self.moving, driving)
        return likelihood[seen], (self._correlation(warped) - self._correlation(self.moving))[seen]

    def _correlation(self, warped: Tensor) -> Tensor:
        """Of each tile, by how much structure the fixed image has there."""
        f, w, ff, ww, fw = self._means(self.fixed, warped, self.fixed**2, warped**2, self.fixed * warped)
        floor = self.config.floor
        own, other = (ff - f * f).clamp_min(0), (ww - w * w).clamp_min(0)
        return (fw - f * w) * ((own + floor) * (other + floor)).rsqrt() * (own / (own + floor))

    def _likelihood(self, warped: Tensor, driving: Tensor) -> Tensor:
        """Mean logarithm, over each tile, of how much likelier the fixed intensity is by the warped one at its place.

        Rather than by any other of the same tile: that a tile is bright in both images, as shading has it, is no
        evidence. Told by the driving blocks: of intensities that go together there by chance, the others know nothing.
        """
        a, b = ((image.clamp(0, 1) * (BINS - 1)).round().long() for image in (self.fixed, warped))
        joint = driving.new_zeros(BINS * BINS)
        joint.index_add_(0, (a * BINS + b).flatten(), driving.flatten())
        offsets = torch.arange(BINS, device=a.device)
        kernel = torch.exp(-(offsets[:, None] - offsets).square() / 2)
        joint = kernel @ joint.view(BINS, BINS) @ kernel + 1e-3
        joint = joint / joint.sum()
        told = (joint / joint.sum(0, keepdim=True) / joint.sum(1, keepdim=True)).log()
        (value,) = self._means(told[a, b])
        return value - self._unpaired(told, a, b)

    def _unpaired(self, told: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The mean of ``told`` over all pairs of pixels of each tile, whatever their places."""
        one, other = (
            torch.cat(self._means(*F.one_hot(x[0], BINS).movedim(-1, 1).to(self.mask).split(1, 1)), 1) for x in (a, b)
        )
        return (one * torch.einsum("ij,bjhw->bihw", told, other)).sum(1, keepdim=True)

    def _means(self, *images: Tensor) -> list[Tensor]:
        """Of the pixels of the mask in each tile."""
        share = F.avg_pool2d(self.mask, self.tile).clamp_min(1e-6)
        return [F.avg_pool2d(image * self.mask, self.tile) / share for image in images]


def _mean(gains: Tensor) -> tuple[float, float]:
    """Of (N,), and the same in standard errors; few tell nothing."""
    if len(gains) < FEW:
        return 0.0, 0.0
    mean = gains.mean()
    return mean.item(), (mean / (gains.std() / math.sqrt(len(gains))).clamp_min(1e-9)).item()
