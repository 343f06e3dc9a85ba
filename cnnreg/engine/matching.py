"""Where an image may lie on another, by descriptors of its cells: mutual nearest ones, and the maps most agree on.

Descriptors are not asked to withstand turns: every thirty degrees are tried, at some sizes. By quarters of a turn, and
into its mirror image, the fixed image is turned, for it is described once for all sizes; by thirds of these the moving.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.engine.alignment import distance
from cnnreg.engine.consensus import Found, Matches, explain, fitted, judged
from cnnreg.engine.drawing import boxed, is_strip, sample, scaled, shrinking, shrunk_by, whole
from cnnreg.engine.remembering import remembered
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import pixel_grid

Features = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 1, H, W) to descriptors (B, D, h, w), and logits
CELL = 4  # pixels along a cell's side; the middle of the first is at 1.5
COARSE, MIDDLE, FINE = 128, 192, 288  # pixels of the longer side, of strips more: to search, to judge, to measure
MOST = 10_000  # cells of an image in which a strip is looked for
QUARTERS, TURNS = 4, 3  # of the fixed image, and of the moving image within a quarter
RIM = 4  # pixels at the rim of what counts that are not described
AROUND, FLAT = 17, 0.012  # pixels; deviation of intensities in [0, 1] that is nothing to describe
LARGER = 1.3  # times the fixed image, the moving one is drawn at most: else both are drawn smaller, which is quicker
REACH = 5.0  # pixels of MIDDLE: what is further off is not explained
ALIKE = 0.06  # of the longer side: maps that are closer than this are looked at once
ROUNDS = 2  # how often a map is fitted anew
STILL, MOVED = 0.5, 1.0  # pixels: a map that a fit moves by less is not fitted again; of FINE
PART = 512  # cells that are compared with all others at once: more do not fit in a processor's own memory


@dataclass(frozen=True)
class Cells:
    """Places (N, 2) in the drawn image, row and column in pixels; descriptors (N, D) of length 1; reliability (N,)."""

    places: Tensor
    descriptors: Tensor
    weights: Tensor
    whole: Tensor  # the descriptors (h, w, D) of all cells, those that do not count, too


class Laid(NamedTuple):
    """What speaks for a map, the matches, and the map from the fixed image's own pixels to theirs."""

    found: Found
    matches: Matches
    down: Affine


class Matcher:
    """Two drawn images (1, 2, H, W) and (1, 2, h, w), to be matched."""

    def __init__(self, fixed: Tensor, moving: Tensor, features: Features, *, kind: str = "affine") -> None:
        self.fixed, self.moving, self.features, self.kind = fixed, moving, features, kind
        self.strips = is_strip(fixed) + is_strip(moving)
        self.levels: dict[int, tuple[Tensor, Affine, Cells]] = {}
        self.quarters: dict[tuple[float, bool], list[tuple[Cells, Affine]]] = {}
        self.turns: dict[float, list[tuple[Cells, Affine]]] = {}

    def factor(self, side: int) -> float:
        """Pixels at a resolution along one of the fixed image, which may be a strip."""
        return max(side / max(self.fixed.shape[2:]), shrinking(self.fixed, side))

    def level(self, side: int) -> tuple[Tensor, Affine, Cells]:
        """The fixed image at a resolution, the map from its own pixels to these, and its cells."""
        if side not in self.levels:
            low, down = scaled(self.fixed, self.factor(side))
            self.levels[side] = low, down, self.cells([low])[0]
        return self.levels[side]

    def cells(self, images: list[Tensor]) -> list[Cells]:
        """Those that count, of each image (1, 2, h, w); what is of one size is described at once."""
        shapes = dict.fromkeys(image.shape for image in images)
        described: dict[int, tuple[Tensor, Tensor]] = {}
        for shape in shapes:
            alike = [k for k, image in enumerate(images) if image.shape == shape]
            descriptors, logits = _described(torch.cat([images[k][:, :1] for k in alike]), self.features)
            described |= {k: (descriptors[n], logits[n, 0]) for n, k in enumerate(alike)}
        return [_counting(image, *described[k]) for k, image in enumerate(images)]

    def anywhere(
        self, start: Affine, *, sizes: Sequence[float] = (1.0,), mirrored: bool = False, side: int = COARSE
    ) -> list[Found]:
        """The best maps of every turn and shift, at ``sizes`` times the start's; best first, each unlike the others.

        ``side`` is in pixels of the fixed image's longer side.
        """
        found = [fit for size in sizes for fit in self._turned(size * start.size, mirrored, side)]
        unlike, reach = list[Found](), ALIKE * max(self.fixed.shape[2:])
        for one in sorted(found, key=lambda one: -one.evidence):
            if all(distance(one.affine, other.affine, self.fixed) > reach for other in unlike):
                unlike.append(one)
        return unlike

    def _turned(self, size: float, mirrored: bool, most: int) -> list[Found]:
        """The best map of every turn at a size, in pixels of the moving image along one of the fixed image."""
        sides = [max(image.shape[2:]) for image in (self.fixed, self.moving)]
        larger = sides[1] / sides[0] / size  # the moving image, drawn alike, against the fixed one
        side = max(round(most * min(1.0, LARGER / larger)), most // 2)
        factor, found = self.factor(side), []
        if self.strips == 1:  # drawn as it needs to be, but what it is looked for in no larger than that
            area = max(math.prod(self.fixed.shape[2:]), math.prod(self.moving.shape[2:]) / size**2)
            factor = min(max(factor, size * shrinking(self.moving, side)), CELL * math.sqrt(MOST / area))
        for cells, there in self._quarters(factor, mirrored):
            for other, back in self._turns(size / factor):
                fit = explain(match(cells, other), self.kind, reach=REACH * side / MIDDLE + 1, turn=math.pi / 12 + 0.3)
                if fit:
                    affine = back.after(fit.affine).after(there)
                    found.append(Found(affine, fit.evidence, fit.share, fit.matches))
        return found

    def _quarters(self, factor: float, mirrored: bool) -> list[tuple[Cells, Affine]]:
        """The fixed image turned by quarters, perhaps mirrored, at a resolution; and the maps from its own pixels."""
        key = round(factor, 6), mirrored
        if key not in self.quarters:
            low, there = scaled(self.fixed, factor)
            if mirrored:
                there = Affine(np.diag([1.0, -1.0]), np.array([0.0, low.shape[3] - 1.0])).after(there)
                low = low.flip(3)
            images, maps = [low], [there]
            for _ in range(1, QUARTERS):
                quarter = Affine(np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([images[-1].shape[3] - 1.0, 0.0]))
                maps.append(quarter.after(maps[-1]))
                images.append(images[-1].rot90(1, (2, 3)))
            self.quarters[key] = list(zip(self.cells(images), maps, strict=True))
        return self.quarters[key]

    def _turns(self, pixel: float) -> list[tuple[Cells, Affine]]:
        """The moving image turned within a quarter, ``pixel`` of its pixels along one; and the ways back."""
        key = round(pixel, 6)
        if key not in self.turns:
            small, own = scaled(self.moving, min(1.0, 1 / pixel), least=16)
            number = 1 if self.strips == 2 else TURNS  # two strips meet along each other only
            angles = [math.pi / 2 * turn / TURNS for turn in range(number)]
            images, backs = zip(*(turned(small, angle, pixel * own.size) for angle in angles), strict=True)
            ways = [own.inverse().after(back) for back in backs]
            self.turns[key] = list(zip(self.cells(list(images)), ways, strict=True))
        return self.turns[key]

    def closer(self, laid: "Laid", *, least: float = 0.0) -> "Laid":
        """Fitted to the matches; the same if that moves it by less than ``least`` pixels of the fixed image."""
        for number in range(ROUNDS):
            fit = fitted(laid.matches, [Affine.identity()], REACH, self.kind)[0]
            if fit is None:
                break
            fit = laid.down.inverse().after(fit).after(laid.down)
            if distance(fit, Affine.identity(), self.fixed) < (max(least, STILL / laid.down.size) if number else least):
                break
            closer = self.laid(laid.found.affine.after(fit))
            if closer.found.evidence <= laid.found.evidence:
                break
            laid = closer
        return laid

    def measured(self, affine: Affine) -> tuple[Affine, Callable[[Affine], float]]:
        """The map fitted to the matches about it at the finest resolution; and what speaks for others close to it."""
        reach, best = REACH * FINE / MIDDLE, affine
        for _ in range(ROUNDS):
            affine = best
            _, matches, down = self.laid(affine, side=FINE)
            fit = fitted(matches, [Affine.identity()], reach, self.kind)[0] or Affine.identity()
            fit = down.inverse().after(fit).after(down)
            best = affine.after(fit)
            if distance(fit, Affine.identity(), self.fixed) * down.size < MOVED:
                break  # else these matches were made too far away
        forth, back = down.after(affine.inverse()), down.inverse()
        return best, lambda other: judged(matches, forth.after(other).after(back), reach).evidence

    def laid(self, affine: Affine, *, side: int = MIDDLE) -> "Laid":
        """The moving image is laid onto the fixed one by a map, and matched there."""
        low, down, cells = self.level(side)
        there = affine.after(down.inverse())
        small, own = scaled(self.moving, min(1.0, 1 / there.size), least=16)
        points = own.after(there).at(pixel_grid(low))
        image = sample(small[:, :1], points, outside="border")
        inside = sample(small[:, 1:], points, outside="zeros")
        matches = match(cells, self.cells([torch.cat([image, inside], 1)])[0])
        found = judged(matches, Affine.identity(), REACH * side / MIDDLE)
        return Laid(replace(found, affine=affine), matches, down)


@remembered
def _described(images: Tensor, features: Features) -> tuple[Tensor, Tensor]:
    return features(images)


@remembered
def _counting(image: Tensor, descriptors: Tensor, logits: Tensor) -> Cells:
    """The cells of an image (1, 2, h, w) that count, of descriptors (D, h, w)."""
    counts = shrunk_by(whole(image[:, 1:]), RIM) * _shows(image[:, :1])
    height, width = descriptors.shape[1:]
    counts = F.pad(counts, (0, width * CELL - counts.shape[3], 0, height * CELL - counts.shape[2]))
    seen = (F.avg_pool2d(counts, CELL) > 0.5)[0, 0]
    places = pixel_grid(descriptors[None])[0] * CELL + (CELL - 1) / 2
    rows = descriptors.permute(1, 2, 0).contiguous()
    return Cells(places[:, seen].T.contiguous(), rows[seen], logits[seen].sigmoid(), rows)


def _shows(image: Tensor) -> Tensor:
    """1 where there is something to describe: of flat ground a network tells only how far the image's rim is."""
    mean, square = boxed(image, AROUND), boxed(image.square(), AROUND)
    return (square - mean.square() > FLAT**2).to(image)


def turned(image: Tensor, angle: float, pixel: float) -> tuple[Tensor, Affine]:
    """The image (1, 2, h, w) turned on a canvas of its own, ``pixel`` of its pixels a pixel; and the way back."""
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    size = np.array(image.shape[2:], float)
    sides = np.ceil(np.abs(matrix) @ size / pixel).astype(int)
    sides = sides + -sides % 16
    matrix = matrix * pixel
    back = Affine(matrix, (size - 1) / 2 - matrix @ ((sides - 1) / 2))
    points = back.at(pixel_grid(image.new_empty(1, 1, *sides.tolist())))
    parts = sample(image[:, :1], points, outside="border"), sample(image[:, 1:], points, outside="zeros")
    return torch.cat(parts, 1), back


@remembered
def match(fixed: Cells, moving: Cells) -> Matches:
    """Cells that are each other's nearest."""
    if not len(fixed.places) or not len(moving.places):
        return Matches(fixed.places[:0], moving.places[:0], fixed.weights[:0])
    others, parts = moving.descriptors.T, []
    most = fixed.weights.new_full((len(moving.places),), -2.0)
    for part in fixed.descriptors.split(PART):
        alike = part @ others
        nearest = torch.from_numpy(alike.numpy().argmax(1))  # many times as fast as PyTorch's
        parts.append((nearest, alike.gather(1, nearest[:, None])[:, 0]))
        most = torch.maximum(most, alike.amax(0))
    there, value = (torch.cat(part) for part in zip(*parts, strict=True))
    mutual = value == most[there]
    there = there[mutual]
    weights = fixed.weights[mutual] * moving.weights[there] * value[mutual].clamp_min(0) ** 2
    places = moving.places[there]
    return Matches(fixed.places[mutual], places + _within(fixed.descriptors[mutual], moving.whole, places), weights)


def _within(asked: Tensor, whole: Tensor, places: Tensor) -> Tensor:
    """How far from a cell's middle (M, 2) the most alike place is, from parabolas through its neighbours."""
    row, column = ((places - (CELL - 1) / 2) / CELL).round().long().unbind(1)
    height, width = whole.shape[:2]

    def alike(down: int, right: int) -> Tensor:
        there = whole[(row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)]
        return (asked * there).sum(1)

    here, off = alike(0, 0), []
    for before, after in ((alike(-1, 0), alike(1, 0)), (alike(0, -1), alike(0, 1))):
        off.append((after - before) / (2 * (2 * here - before - after)).clamp_min(1e-3))
    return torch.stack(off, 1).clamp(-0.5, 0.5) * CELL
