"""The resolutions on which a field is moved: two images, what is compared of them, and where the field lives."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.landmarks import Landmarks, Pull
from cnnreg.errors import UsageError
from cnnreg.geometry.fields import Warper
from cnnreg.similarity.correlation import Correlation, MaskedWindows, WholeImage, Windows, local_windows
from cnnreg.similarity.descriptors import mind
from cnnreg.similarity.filters import by_displacement, edges, halved
from cnnreg.similarity.measures import MutualInformation, Squares

DECISIVE = 48  # pixels of the shortest side: from here on edges are seen, and here, at 95 at most, the starts compete
FINE = 96  # pixels of the shortest side: from here on the field lives on blocks of 2 x 2 pixels
FLAT = 0.01  # steepness of all pixels together that landmarks see at least, so that they pull on flat images, too

Represent = Callable[[Tensor], Tensor]  # images (B, 1, h, w) to what is compared of them, (B, C, h, w)
Similarity = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # of a warped image: value, slope, curvature


class Level:
    """Two images at one resolution, what is compared of them, and where their field lives.

    Intensities are compared and, on levels that resolve them, edges. Small levels are cheap and have a vector at each
    pixel; on large ones the field lives on blocks of 2 x 2 pixels, the cells, always in pixels of the level.
    """

    def __init__(
        self,
        fixed: Tensor,
        moving: Tensor,
        config: RefinementConfig,
        mask: Tensor | None = None,
        landmarks: Landmarks | None = None,
        represent: Represent | None = None,
    ) -> None:
        self.pair, self.config, self.mask, self.landmarks = (fixed, moving), config, mask, landmarks
        self.represent = mind if config.similarity == "mind" else represent
        self.size = fixed.shape[2], fixed.shape[3]
        self.side = min(self.size)
        self.cell = 2 if self.side >= FINE else 1
        self.identity = self.to_cells(fixed.new_zeros(len(fixed), 2, *self.size))

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        """What is compared, (B, C, h, w) each, around the mean of the fixed image."""
        fixed, moving = self.pair
        if self.config.similarity in {"mind", "learned"}:
            if self.represent is None:
                raise UsageError("the metric 'learned' needs a representation; name a model that represents images")
            fixed, moving = self.represent(fixed), self.represent(moving)
        elif self.sees_edges:
            fixed, moving = (torch.cat([image, edges(image)], 1) for image in (fixed, moving))
        center = fixed.mean((2, 3), keepdim=True)
        return fixed - center, moving - center

    @cached_property
    def similarity(self) -> Similarity:
        """Of any warped image to the fixed one."""
        (fixed, moving), config = self.images, self.config
        if config.similarity in {"mind", "mse", "learned"}:
            return Squares(fixed, self.mask)
        if config.similarity == "mi":
            return MutualInformation(fixed, (moving.amin().item(), moving.amax().item()), self.mask)
        if config.similarity == "ncc":
            windows: Windows = WholeImage(fixed)
        else:
            apart = next((n for n in (4, 2) if self.side >= n * DECISIVE), 1)  # pixels between windows
            windows = local_windows(fixed, window=config.window, cell=apart)
        if self.mask is not None:
            windows = MaskedWindows(windows, self.mask)
        weights = [1 - config.edges, config.edges] if self.sees_edges else [1.0]
        return Correlation(fixed, weights, windows, floor=config.floor)

    @cached_property
    def pull(self) -> Pull | None:
        """Of the landmarks: one of weight 1 is as steep as an average pixel of the fixed image laid onto itself."""
        if self.landmarks is None:
            return None
        fixed, config = self.images[0], self.config
        steepness = by_displacement(*self.similarity(fixed)[1:], fixed)[:, 2].mean()
        if self.mask is not None:
            steepness /= self.mask.mean().clamp_min_(0.01)
        curvature = config.landmarks * steepness.clamp_min_(FLAT / (self.size[0] * self.size[1]))
        return Pull(self.landmarks, self.identity, cell=self.cell, curvature=curvature, sigma=config.update_sigma)

    @cached_property
    def _warper(self) -> Warper:
        return Warper(self.pair[0])

    @property
    def sees_edges(self) -> bool:
        correlates = self.config.similarity in {"lncc", "ncc"}
        return correlates and self.side >= DECISIVE and self.config.edges > 0

    def warp(self, field: Tensor) -> Tensor:
        """The moving image pulled back along a field on the cells."""
        return self._warper(self.images[1], self.to_pixels(field))

    def energy(self, field: Tensor) -> Tensor:
        """Of a start, (B,): that of the steps, plus half the mean squared gradient of the field."""
        down, right = field[:, :, 1:] - field[:, :, :-1], field[..., 1:] - field[..., :-1]
        roughness = down.square().sum(1).mean((1, 2)) + right.square().sum(1).mean((1, 2))
        energy = roughness / 2 / self.cell**2 - self.similarity(self.warp(field))[0]
        return energy + self.pull.energy(field) if self.pull else energy

    def to_cells(self, x: Tensor) -> Tensor:
        return halved(x) if self.cell > 1 else x

    def to_pixels(self, field: Tensor) -> Tensor:
        if self.cell == 1:
            return field
        return F.interpolate(field, size=self.size, mode="bilinear", align_corners=False)


def pyramid(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None,
    config: RefinementConfig,
    landmarks: Landmarks | None,
    represent: Represent | None = None,
) -> list[Level]:
    """Finest first, each level half the one before; a pixel of a mask's level is one if all that it covers are."""
    layers = fill(torch.cat([fixed, moving] if mask is None else [fixed, moving, mask], 1))

    def level() -> Level:
        seen = None if mask is None else (layers[:, 2:] > 0.99).to(layers)
        return Level(layers[:, :1], layers[:, 1:2], config, seen, landmarks, represent)

    levels = [level()]
    while levels[-1].side >= DECISIVE:
        layers, landmarks = fill(halved(layers)), landmarks and landmarks.halved()
        levels.append(level())
    return levels


def decisive(levels: Sequence[Level]) -> int:
    """The coarsest level that shows edges, where starts compete."""
    return max((n for n, level in enumerate(levels) if level.side >= DECISIVE), default=0)


def fill(x: Tensor) -> Tensor:
    """Repeat the last row and column up to whole cells and windows."""
    down, right = (-side % 4 for side in x.shape[2:])
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def restrict(field: Tensor, levels: Sequence[Level]) -> Tensor:
    """A field on the image's pixels, on the cells of the last of ``levels`` and in its pixels."""
    for _ in levels[1:]:
        field = halved(fill(field)) / 2
    return levels[-1].to_cells(fill(field))


def prolong(field: Tensor, level: Level, finer: Level) -> Tensor:
    """A field on the cells of one level on those of the next finer."""
    field = level.to_pixels(field)
    if finer.cell == 1:
        field = F.interpolate(field, scale_factor=2, mode="bilinear", align_corners=False)
    height, width = finer.identity.shape[2:]
    return 2 * field[..., :height, :width]
