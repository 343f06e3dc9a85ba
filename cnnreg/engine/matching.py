"""Where an image may lie on another, by descriptors of its cells: mutual nearest ones, and the maps most agree on.

Descriptors are not asked to withstand turns: the moving image is turned by every thirty degrees, at some sizes. Maps
through two matches compete by how many others they explain (RANSAC, Fischler and Bolles 1981,
doi:10.1145/358669.358692; with a cost that is cut off, Torr and Zisserman 2000, doi:10.1006/cviu.1999.0832), and the
best are fitted to what they explain.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.engine.alignment import distance
from cnnreg.engine.drawing import sample, scaled, shrunk_by, whole
from cnnreg.geometry.affine import Affine, Array
from cnnreg.geometry.fields import pixel_grid

Features = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 1, H, W) to descriptors (B, D, h, w), and logits
CELL = 4  # pixels along a cell's side; the middle of the first is at 1.5
COARSE, MIDDLE, FINE = 128, 192, 288  # pixels of the longer side: to search, to judge, to measure
TURNS = 12
RIM = 4  # pixels at the rim of what counts that are not described
AROUND, FLAT = 17, 0.012  # pixels; deviation of intensities in [0, 1] that is nothing to describe
LARGER = 1.3  # times the fixed image, the moving one is drawn at most: else both are drawn smaller, which is quicker
TRIALS = 600
REACH = 5.0  # pixels of MIDDLE: what is further off is not explained
SIZES = (0.4, 2.5)  # of a map, against what is tried
BEST = 3  # maps that are looked at more closely
STRETCH = 1.8
ALIKE = 0.06  # of the longer side: maps that are closer than this are looked at once
LEAST = 6  # matches of a map


@dataclass(frozen=True)
class Cells:
    """Places (N, 2) in the drawn image, row and column in pixels; descriptors (N, D) of length 1; reliability (N,)."""

    places: Tensor
    descriptors: Tensor
    weights: Tensor
    whole: Tensor  # the descriptors (D, h, w) of all cells, those that do not count, too


@dataclass(frozen=True)
class Matches:
    """Places (M, 2) in the fixed and in the moving image, and how sure each is (M,)."""

    fixed: Tensor
    moving: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Found:
    """A map of fixed to moving pixels, and what speaks for it."""

    affine: Affine
    evidence: float  # matches that it explains, the nearer the more
    share: float  # of all matches
    matches: int = 0


class Matcher:
    """Two drawn images (1, 2, H, W) and (1, 2, h, w), to be matched."""

    def __init__(self, fixed: Tensor, moving: Tensor, features: Features, *, kind: str = "affine") -> None:
        self.fixed, self.moving, self.features, self.kind = fixed, moving, features, kind
        self.levels: dict[int, tuple[Tensor, Affine, Cells]] = {}

    def level(self, side: int) -> tuple[Tensor, Affine, Cells]:
        """The fixed image at a resolution, the map from its own pixels to these, and its cells."""
        if side not in self.levels:
            low, down = scaled(self.fixed, side / max(self.fixed.shape[2:]))
            self.levels[side] = low, down, self.cells(low)
        return self.levels[side]

    def cells(self, image: Tensor) -> Cells:
        """Those that count, of an image (1, 2, h, w)."""
        descriptors, logits = self.features(image[:, :1])
        counts = shrunk_by(whole(image[:, 1:]), RIM) * _shows(image[:, :1])
        height, width = descriptors.shape[2:]
        counts = F.pad(counts, (0, width * CELL - counts.shape[3], 0, height * CELL - counts.shape[2]))
        seen = (F.avg_pool2d(counts, CELL) > 0.5)[0, 0]
        places = pixel_grid(descriptors)[0] * CELL + (CELL - 1) / 2
        return Cells(places[:, seen].T, descriptors[0][:, seen].T, logits[0, 0][seen].sigmoid(), descriptors[0])

    def anywhere(self, start: Affine, *, sizes: Sequence[float] = (1.0,)) -> list[Found]:
        """The best maps of every turn and shift, at ``sizes`` times the start's; best first."""
        found = sorted((fit for size in sizes for fit in self._turned(start, size)), key=lambda one: -one.evidence)
        unlike, reach = list[Found](), ALIKE * max(self.fixed.shape[2:])
        for one in found:
            if all(distance(one.affine, other.affine, self.fixed) > reach for other in unlike):
                unlike.append(one)
        looked_at = sorted((self.evidence(one.affine)[0] for one in unlike[:BEST]), key=lambda one: -one.evidence)
        return [self.closer(one.affine)[1] for one in looked_at[:1]] + looked_at[1:]

    def _turned(self, start: Affine, size: float) -> list[Found]:
        sides = [max(image.shape[2:]) for image in (self.fixed, self.moving)]
        larger = sides[1] / sides[0] / (size * start.size)  # the moving image, drawn alike, against the fixed one
        side = max(round(COARSE * min(1.0, LARGER / larger)), COARSE // 2)
        _, down, cells = self.level(side)
        pixel = size * start.size / down.size  # moving pixels along a pixel of the turned image
        small, own = scaled(self.moving, min(1.0, 1 / pixel), least=16)
        found = []
        for turn in range(TURNS):
            angle = 2 * math.pi * turn / TURNS
            image, back = turned(small, angle, pixel * own.size)
            matches = match(cells, self.cells(image))
            fit = explain(matches, self.kind, reach=REACH * side / MIDDLE + 1, turn=math.pi / TURNS + 0.3)
            if fit:
                affine = own.inverse().after(back).after(fit.affine).after(down)
                found.append(Found(affine, fit.evidence, fit.share, fit.matches))
        return found

    def closer(self, affine: Affine, *, side: int = MIDDLE, least: float = 0.0, rounds: int = 2) -> tuple[Found, Found]:
        """What speaks for a map, and for that fitted to the matches about it: the same if it moves less than ``least``.

        ``least`` is in pixels of the fixed image.
        """
        first, matches, down = self.evidence(affine, side=side)
        best = first
        for _ in range(rounds):
            fit = fitted(matches, Affine.identity(), REACH * side / MIDDLE, self.kind)
            if fit is None or distance(down.inverse().after(fit).after(down), Affine.identity(), self.fixed) < least:
                break
            refined, matches, _ = self.evidence(best.affine.after(down.inverse()).after(fit).after(down), side=side)
            if refined.evidence <= best.evidence:
                break
            best = refined
        return first, best

    def evidence(self, affine: Affine, *, side: int = MIDDLE) -> tuple[Found, Matches, Affine]:
        """What speaks for a map: the moving image is laid onto the fixed one by it, and matched there.

        Besides, the matches, and the map from the fixed image's own pixels to theirs.
        """
        low, down, cells = self.level(side)
        there = affine.after(down.inverse())
        small, own = scaled(self.moving, min(1.0, 1 / there.size), least=16)
        points = own.after(there).at(pixel_grid(low))
        image = sample(small[:, :1], points, outside="border")
        inside = sample(small[:, 1:], points, outside="zeros")
        matches = match(cells, self.cells(torch.cat([image, inside], 1)))
        off, reach = (matches.moving - matches.fixed).norm(dim=1), REACH * side / MIDDLE
        value, count = support(off, reach).sum().item(), len(off)
        return Found(affine, value, value / max(count, 1), int((off < reach).sum())), matches, down


def _shows(image: Tensor) -> Tensor:
    """1 where there is something to describe: of flat ground a network tells only how far the image's rim is."""
    mean, square = (F.avg_pool2d(x, AROUND, 1, AROUND // 2, count_include_pad=False) for x in (image, image.square()))
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


def match(fixed: Cells, moving: Cells) -> Matches:
    """Cells that are each other's nearest."""
    if not len(fixed.places) or not len(moving.places):
        return Matches(fixed.places[:0], moving.places[:0], fixed.weights[:0])
    alike = fixed.descriptors @ moving.descriptors.T
    there = torch.from_numpy(alike.numpy().argmax(1))  # many times as fast as PyTorch's
    value = alike.gather(1, there[:, None])[:, 0]
    mutual = value == alike.amax(0)[there]
    there = there[mutual]
    weights = fixed.weights[mutual] * moving.weights[there] * value[mutual].clamp_min(0) ** 2
    nearest = moving.places[there]
    return Matches(fixed.places[mutual], nearest + _within(fixed.descriptors[mutual], moving.whole, nearest), weights)


def _within(asked: Tensor, whole: Tensor, places: Tensor) -> Tensor:
    """How far from a cell's middle (M, 2) the most alike place is, from parabolas through its neighbours."""
    row, column = ((places - (CELL - 1) / 2) / CELL).round().long().unbind(1)
    height, width = whole.shape[1:]

    def alike(down: int, right: int) -> Tensor:
        there = whole[:, (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)]
        return (asked * there.T).sum(1)

    here, off = alike(0, 0), []
    for before, after in ((alike(-1, 0), alike(1, 0)), (alike(0, -1), alike(0, 1))):
        off.append((after - before) / (2 * (2 * here - before - after)).clamp_min(1e-3))
    return torch.stack(off, 1).clamp(-0.5, 0.5) * CELL


def support(off: Tensor, reach: float) -> Tensor:
    """What matches that are ``off`` pixels off speak for a map, 1 to 0."""
    return (1 - (off / reach) ** 2).clamp_min(0)


def explain(matches: Matches, kind: str, *, reach: float, turn: float) -> Found | None:
    """The map that most matches agree on, turned by at most ``turn``; None if hardly any do."""
    count = len(matches.weights)
    if count < LEAST:
        return None
    generator = torch.Generator().manual_seed(count)
    chance = matches.weights + 1e-4 * matches.weights.max() + 1e-9
    ends = torch.multinomial(chance.expand(2, -1), TRIALS, replacement=True, generator=generator)
    p, q = (torch.complex(x[:, 0].double(), x[:, 1].double()) for x in (matches.fixed, matches.moving))
    apart = p[ends[1]] - p[ends[0]]
    factor = (q[ends[1]] - q[ends[0]]) / torch.where(apart.abs() > 0, apart, torch.ones_like(apart))
    good = (apart.abs() > 4 * CELL) & (factor.abs() > SIZES[0]) & (factor.abs() < SIZES[1])
    good &= factor.angle().abs() < turn
    if not good.any():
        return None
    factor, ends = factor[good], ends[:, good]
    offset = q[ends[0]] - factor * p[ends[0]]
    off = (factor[:, None] * p + offset[:, None] - q).abs()
    value = (support(off, reach) * matches.weights).sum(1)
    best: Found | None = None
    for k in value.topk(min(5, len(value))).indices.tolist():
        a, b = factor[k].item(), offset[k].item()
        start = Affine(np.array([[a.real, -a.imag], [a.imag, a.real]]), np.array([b.real, b.imag]))
        affine = fitted(matches, start, reach, kind) or start
        far = _off(matches, affine)
        explained = support(far, reach).sum().item()
        if best is None or explained > best.evidence:
            best = Found(affine, explained, explained / count, int((far < reach).sum()))
    return best


def fitted(matches: Matches, start: Affine, reach: float, kind: str) -> Affine | None:
    """The map that fits best to what it explains, from ``start``; None if that is too little, or no sensible map."""
    here, there = matches.fixed.double().numpy(), matches.moving.double().numpy()
    affine = start
    for _ in range(6):
        weights = support(_off(matches, affine), reach).double().numpy()
        if (weights > 0).sum() < LEAST:
            return None
        affine = least_squares(here, there, weights, kind)
        stretch = np.linalg.svd(affine.matrix, compute_uv=False)
        if stretch[1] < SIZES[0] / 2 or stretch[0] > STRETCH * stretch[1] or np.linalg.det(affine.matrix) < 0:
            return None
    return affine


def least_squares(here: Array, there: Array, weights: Array, kind: str) -> Affine:
    """The affine map, similarity or rigid motion that takes points (N, 2) to others (Umeyama 1991,
    doi:10.1109/34.88573)."""
    share = weights[:, None] / weights.sum()
    centers = (share * here).sum(0), (share * there).sum(0)
    a, b = here - centers[0], there - centers[1]
    across = (share * b).T @ a
    if kind == "affine":
        matrix = across @ np.linalg.pinv((share * a).T @ a)
    else:
        u, values, v = np.linalg.svd(across)
        sign = np.array([1.0, np.sign(np.linalg.det(u @ v))])
        size = (values * sign).sum() / (share * a * a).sum() if kind == "similarity" else 1.0
        matrix = size * (u * sign) @ v
    return Affine(matrix, centers[1] - matrix @ centers[0])


def _off(matches: Matches, affine: Affine) -> Tensor:
    there = torch.from_numpy(affine(matches.fixed.double().numpy()))
    return (there - matches.moving).norm(dim=1)
