"""Pairs of views of one scene: where each cell of the one lies in the other is known, how they look differs."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.geometry.fields import pixel_grid, sample
from cnnreg.learning.features.additions import Additions
from cnnreg.learning.features.chance import Chance
from cnnreg.learning.features.contrasts import degraded, recontrast, to_grey

MARGIN = 2.0  # pixels from the rim: nearer, nothing is asked for


@dataclass(frozen=True)
class Scene:
    """An image (3, H, W) of uint8; or two of one scene, with the map of the first one's pixels to the second's."""

    image: Tensor
    other: Tensor | None = None
    matrix: Tensor | None = None  # (2, 3): row and column from row, column and 1


@dataclass(frozen=True)
class Pairs:
    """A batch of two views (B, 1, N, N) each."""

    first: Tensor
    second: Tensor
    there: Tensor  # (B, 2, N, N): where the pixels of the second lie in the first, row and column
    first_mask: Tensor  # (B, 1, N, N), bool: where a view shows its scene
    second_mask: Tensor


@dataclass(frozen=True)
class ViewConfig:
    """How far two views lie apart."""

    size: int = 160
    turn: float = 22.0  # degrees
    zoom: float = 0.45  # natural logarithm
    stretch: float = 0.13
    shear: float = 0.1
    shift: float = 13.0  # pixels, standard deviation
    bend: float = 5.0  # pixels, at most
    near: float = 0.45  # of the image's shorter side, the least that a view shows
    alike: float = 0.0  # of the time both views have much the contrast of the scene
    real: float = 0.5  # of the time a scene with two images is shown by both


class ViewMaker:
    """Makes batches from groups of scenes; a batch depends on its seed only."""

    def __init__(self, groups: list[tuple[float, list[Scene]]], config: ViewConfig, *, seed: int) -> None:
        """``groups``: how often each is drawn from, in proportion, and its scenes."""
        self.groups, self.config = groups, config
        self.weights = torch.tensor([weight for weight, _ in groups])
        self.additions = Additions(config.size, seed)

    def __call__(self, count: int, seed: int) -> Pairs:
        chance, size = Chance(seed), self.config.size
        drawn = [self._draw(chance) for _ in range(count)]
        first, second, there, one, two, real = (torch.stack(part) for part in zip(*drawn, strict=True))
        greys = to_grey(torch.cat([first, second]), chance)
        strength = torch.where(real, 0.2, 1.0)
        reduced = chance.uniform(count) < 0.5
        strength = torch.cat([torch.where(reduced, 0.0, strength), strength])
        if self.config.alike:
            strength.view(2, count)[:, chance.some(count, self.config.alike)] = 0.0
        greys = self.additions.draw(recontrast(greys, strength, chance), chance)
        greys = degraded(greys, chance)
        left, right, mask_one, mask_two = self.additions.frame(greys[:count], greys[count:], chance)
        rim = torch.zeros(size, size, dtype=torch.bool)
        rim[int(MARGIN) : -int(MARGIN), int(MARGIN) : -int(MARGIN)] = True
        return Pairs(left, right, there, one & mask_one & rim, two & mask_two & rim)

    def _draw(self, chance: Chance) -> tuple[Tensor, ...]:
        """Colours of both views, map, masks, and whether they come from two images."""
        group = self.groups[int(torch.multinomial(self.weights, 1, generator=chance.generator))][1]
        scene = group[chance.integer(len(group))]
        image, other, matrix = scene.image, None, None
        if scene.other is not None and scene.matrix is not None and chance.happens(self.config.real):
            other, matrix = scene.other, scene.matrix
        elif scene.other is not None and chance.happens(0.5):
            image = scene.other
        size, (height, width) = self.config.size, image.shape[1:]
        grid = pixel_grid(torch.empty(size, size)) - (size - 1) / 2
        scale = min(height, width) / size * chance.number(self.config.near, 1.1)
        base = turned(chance.number(0, 360)) * scale
        base[:, 0] *= 1 if chance.happens(0.5) else -1
        center = torch.tensor([chance.number(0.3, 0.7) * height, chance.number(0.3, 0.7) * width])
        there = self._warp(grid, chance)
        points, other_points = _affine(base, center, grid), _affine(base, center, there)
        first, one = look(image, points, chance)
        if other is not None and matrix is not None:
            other_points = _affine(matrix[:, :2], matrix[:, 2], other_points)
        second, two = look(image if other is None else other, other_points, chance)
        if chance.happens(0.5):  # the real pairs' order is no rule
            back = invert(there)
            first, second, one, two, there = second, first, two, one, back
        return first, second, there[0] + (size - 1) / 2, one, two, torch.tensor(other is not None)

    def _warp(self, grid: Tensor, chance: Chance) -> Tensor:
        config, size = self.config, self.config.size
        zoom, stretch = (math.exp(chance.number(-v, v)) for v in (config.zoom, config.stretch))
        shear = chance.number(-config.shear, config.shear)
        matrix = turned(chance.number(-config.turn, config.turn)) @ torch.tensor([[stretch, shear], [0, 1 / stretch]])
        bend = chance.smooth(2, size, size)[:, 0][None] * chance.number(0, config.bend)
        return _affine(matrix * zoom, chance.normal(2, spread=config.shift), grid) + bend


def invert(there: Tensor) -> Tensor:
    """The way back of a map (1, 2, N, N), coordinates from the middle, to be had from its own affine part and steps."""
    size = there.shape[-1]
    grid = pixel_grid(there) - (size - 1) / 2
    powers = torch.cat([grid, torch.ones_like(grid[:, :1])], 1).flatten(2)[0].T.double()  # else not quite repeatable
    affine = torch.linalg.lstsq(powers, there.flatten(2)[0].T.double()).solution.T.float()
    back = torch.linalg.inv(affine[:, :2])
    rest = there - _affine(affine[:, :2], affine[:, 2], grid)
    at = _affine(back, -back @ affine[:, 2], grid)
    for _ in range(6):
        at = _affine(back, -back @ affine[:, 2], grid - sample(rest, at + (size - 1) / 2))
    return at


def look(image: Tensor, points: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """Colours (3, N, N) in [0, 1] of a uint8 image at ``points`` (1, 2, N, N), and where they lie in it."""
    _, height, width = image.shape
    spacing = (points[0, :, 1:, 1:] - points[0, :, :-1, :-1]).norm(dim=0).mean().item() / math.sqrt(2)
    colours = image[None].float() / 255
    factor = 1.0
    if spacing > 1.4:  # far away, pixels are means
        factor = 1 / spacing
        size = [max(8, round(n * factor)) for n in (height, width)]
        colours = F.interpolate(colours, size=size, mode="bilinear", antialias=True, align_corners=False)
    scaled = torch.tensor([n / m for n, m in zip(colours.shape[2:], (height, width), strict=True)]).view(1, 2, 1, 1)
    inside = ((points > 0) & (points < torch.tensor([height - 1, width - 1]).view(1, 2, 1, 1))).all(1)
    drawn = sample(colours, (points + 0.5) * scaled - 0.5)[0]
    if chance.happens(0.5):
        drawn = torch.where(inside, drawn, chance.number() if chance.happens(0.5) else 0.0)
    return drawn, inside


def turned(degrees: float) -> Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[cos, -sin], [sin, cos]])


def _affine(matrix: Tensor, offset: Tensor, points: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix, points) + offset.view(1, 2, 1, 1)
