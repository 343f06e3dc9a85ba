"""Global alignment: the affine map that lays one image onto another, from whatever place, turn and size.

Exhaustive at first: every turn by 10 degrees and every size by a factor of 1.26, at every shift, by correlating the
orientations of edges, which neither brightness nor inverted contrast changes (after Fitch et al. 2002,
doi:10.5244/C.16.11, with doubled angles). The best few then climb the squared local correlation, all affine, coarse to
fine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.geometry.affine import Affine, Array
from cnnreg.geometry.fields import pixel_grid
from cnnreg.similarity.correlation import Correlation, MaskedWindows, local_windows
from cnnreg.similarity.filters import Blur, edges, gradient

COARSE = 72  # pixels of the longer side in the exhaustive search
TURNS = 36
SIZES = tuple(2 ** (k / 3) for k in range(-4, 5))
CANDIDATES = 8  # that climb, besides the best of every size
LEVELS = ((72, 15, 30), (144, 15, 4), (196, 8, 2))  # longer side, steps, candidates
STANDS_OUT = 1.1  # times the score of the next best place
OVERLAP = 0.25  # of the smaller image: what shares less is no candidate
WINDOW, FLOOR = 15, 1e-3  # of the local correlation
EDGE_WEIGHTS = (0.5, 0.5)  # of intensities and edges
STRETCH = 1.6  # between the axes, at most
LONGEST = 3.0  # pixels: no step takes any pixel further
BASES = {  # what a step may be: columns of (row by row, row by column, row, column by row, column by column, column)
    "affine": torch.eye(6),
    "similarity": torch.tensor([[1.0, 0, 0, 0, 1, 0], [0, 1, 0, -1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).T,
    "rigid": torch.tensor([[0.0, 1, 0, -1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).T,
}


@dataclass(frozen=True)
class Candidate:
    """An affine map from fixed to moving pixels, and how well it lays the one onto the other, at most 1."""

    affine: Affine
    score: float


def align(fixed: Tensor, moving: Tensor, given: Affine, *, kind: str) -> Candidate:
    """The best map found from fixed to moving pixels, wherever it is.

    Args:
        fixed, moving: (1, 2, H, W) and (1, 2, h, w): intensities in [0, 1], and a mask, 1 where they count.
        given: where their files' geometry puts them; always a candidate.
        kind: "affine", "similarity" (turn, size, shift) or "rigid" (turn and shift; the size is that of ``given``).
    """
    size = given.size
    sizes = [1 / size] if kind == "rigid" else _sizes(fixed, moving, size)
    with torch.inference_mode():
        found = [place.affine for place in _search(fixed, moving, sizes=sizes)]
    return climb(fixed, moving, [given, *found], kind=kind)


def climb(fixed: Tensor, moving: Tensor, starts: list[Affine], *, kind: str) -> Candidate:
    """The best map to be reached from any of ``starts``, coarse to fine, ever fewer of them."""
    with torch.inference_mode():
        for side, steps, count in LEVELS:
            climbed = [_climb(fixed, moving, at, side=side, steps=steps, kind=kind) for at in starts[:count]]
            climbed.sort(key=lambda candidate: -candidate.score)
            starts = [candidate.affine for candidate in climbed]
    return climbed[0]


def score(fixed: Tensor, moving: Tensor, affine: Affine) -> float:
    """How well ``affine`` lays the images onto each other, to be compared with that of a :class:`Candidate`."""
    with torch.inference_mode():
        return _climb(fixed, moving, affine, side=LEVELS[-1][0], steps=0, kind="affine").score


def in_place(fixed: Tensor, moving: Tensor, given: Affine) -> bool:
    """Whether, of all turns and shifts at the size that the files say, none is as good as staying about there."""
    size = given.size
    with torch.inference_mode():
        places = _search(fixed, moving, sizes=[1 / size])
    center = (np.array(fixed.shape[2:]) - 1) / 2
    direction = given.matrix / size
    scores = {True: [0.0], False: [0.0]}
    for place in places:
        turn = place.affine.matrix @ np.linalg.inv(direction)
        angle = math.degrees(math.atan2(turn[1, 0] - turn[0, 1], np.trace(turn)))
        way = np.linalg.norm(place.affine(center) - given(center)) / max(moving.shape[2:])
        scores[abs(angle) < 1.5 * 360 / TURNS and bool(way < 0.1)].append(place.score)
    return max(scores[True]) > STANDS_OUT * max(scores[False])


def _sizes(fixed: Tensor, moving: Tensor, given: float) -> list[float]:
    """Fixed pixels along a moving pixel that are tried: about what the files say, and about what fills the image."""
    fill = (math.prod(fixed.shape[2:]) / math.prod(moving.shape[2:])) ** 0.5
    tried: list[float] = []
    for size in [middle * factor for middle in (1 / given, fill) for factor in SIZES]:
        if all(abs(math.log2(size / other)) > 0.16 for other in tried):
            tried.append(size)
    return tried


# --- the exhaustive search


def _search(fixed: Tensor, moving: Tensor, *, sizes: list[float]) -> list["_Place"]:
    """The best maps of fixed to moving pixels, each unlike the others, and the best of every size; best first."""
    found: list[_Place] = []
    for size in sizes:
        # Both are drawn with pixels of one size; neither much larger than COARSE, or the transforms take long.
        larger = size * max(moving.shape[2:]) / max(fixed.shape[2:])
        low_fixed, shrunk = _smaller(fixed, round(COARSE * min(1.0, 1.5 / larger)))
        drawn, shrunk_moving = _smaller(moving, max(8, round(max(moving.shape[2:]) * size * shrunk)))
        features = _Oriented(low_fixed[:, :1], _whole(low_fixed[:, 1:]))
        back = _rescale(shrunk_moving).inverse()
        for score, turn, low in _shifts(features, drawn):
            found.append(_Place(score, size, turn, back.after(low).after(_rescale(shrunk))))
    center, reach = (np.array(fixed.shape[2:]) - 1) / 2, 0.08 * max(moving.shape[2:])
    found.sort(key=lambda place: -place.score)
    firsts = [next(place for place in found if place.size == size) for size in {place.size for place in found}]
    kept: list[_Place] = []
    for place in found:
        if all(place.differs(other, center, reach) for other in kept):
            kept.append(place)
        if len(kept) == CANDIDATES:
            break
    return sorted([*kept, *(p for p in firsts if p not in kept)], key=lambda place: -place.score)


@dataclass(frozen=True)
class _Place:
    score: float
    size: float
    turn: int
    affine: Affine

    def differs(self, other: "_Place", center: Array, reach: float) -> bool:
        turn = (self.turn - other.turn) % TURNS
        return (
            abs(math.log2(self.size / other.size)) > 0.3
            or min(turn, TURNS - turn) > 2
            or bool(np.linalg.norm(self.affine(center) - other.affine(center)) > reach)
        )


class _Oriented:
    """Orientations of edges (B, 2, h, w) in a mask, their squared lengths, and the mask."""

    def __init__(self, image: Tensor, mask: Tensor) -> None:
        down, right = gradient(Blur(image, 1.0)(image))
        parts = torch.cat([right * right - down * down, 2 * right * down, right * right + down * down], 1)
        energy = Blur(image, 6.0)(parts[:, 2:])
        doubled = Blur(image, 1.5)(parts[:, :2]) / (energy + 0.1 * energy.mean((2, 3), keepdim=True) + 1e-8)
        length = torch.hypot(doubled[:, :1], doubled[:, 1:])
        self.mask = _shrunk_by(mask, 2)
        self.vectors = doubled / (length.sqrt() + 1e-3) * self.mask
        self.squares = self.vectors.square().sum(1, keepdim=True)


def _shifts(fixed: _Oriented, moving: Tensor) -> Iterator[tuple[float, int, Affine]]:
    """For every turn of ``moving``, the three best shifts: score, turn, and map of fixed to moving pixels."""
    height, width = moving.shape[2:]
    side = math.ceil(math.hypot(height, width)) + 2
    canvas = pixel_grid(moving.new_empty(side, side)) - (side - 1) / 2
    angles = torch.arange(TURNS) * (2 * math.pi / TURNS)
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).view(-1, 2, 2)
    center = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    points = torch.einsum("kij,bjhw->kihw", turns, canvas) + center.view(1, 2, 1, 1)
    sources = moving.expand(TURNS, -1, -1, -1)
    image = _sample(sources[:, :1], points, outside="border")
    inside = _whole(_sample(sources[:, 1:], points, outside="zeros"))
    turned = _Oriented(image, inside)
    size = [-(-(a + side) // 16) * 16 for a in fixed.mask.shape[2:]]  # room for every shift, and quick to transform

    def spectrum(x: Tensor) -> Tensor:
        return torch.fft.rfft2(x, s=size)

    def correlate(a: Tensor, b: Tensor) -> Tensor:
        return torch.fft.irfft2((a * b.conj()).sum(1), s=size)

    inside_spectrum = spectrum(turned.mask)
    common = correlate(spectrum(fixed.vectors), spectrum(turned.vectors))
    lengths = correlate(spectrum(fixed.squares), inside_spectrum).clamp_min(1e-3)
    lengths *= correlate(spectrum(fixed.mask), spectrum(turned.squares)).clamp_min(1e-3)
    overlap = correlate(spectrum(fixed.mask), inside_spectrum)
    share = overlap / torch.minimum(fixed.mask.sum(), turned.mask.sum((1, 2, 3))).view(-1, 1, 1).clamp_min(1)
    evidence = (overlap / fixed.mask.sum()).clamp(0, 1) ** 0.25
    score = common / lengths.sqrt() * share.clamp(0, 1).sqrt() * evidence
    score = score.masked_fill_((share < OVERLAP) | (overlap < 64), 0)
    best = score.flatten(1).topk(3, dim=1)
    for turn in range(TURNS):
        matrix = turns[turn].double().numpy()
        for value, index in zip(best.values[turn].tolist(), best.indices[turn].tolist(), strict=True):
            shift = np.array([index // size[1], index % size[1]], dtype=float)
            shift -= np.where(shift >= fixed.mask.shape[2:], size, 0)
            yield value, turn, Affine(matrix, center.numpy() - matrix @ (shift + (side - 1) / 2))


# --- the climb


def _climb(fixed: Tensor, moving: Tensor, start: Affine, *, side: int, steps: int, kind: str) -> Candidate:
    """The best map on the way of ``steps`` Newton steps from ``start``, at a resolution of ``side`` pixels.

    The score is the mean squared local correlation of the images and their edges, where the fixed one has structure,
    times the root of the part of the smaller image that the other covers, and the fourth root of that of the fixed one:
    what overlaps less does not gain by it, and few pixels are little evidence.
    """
    low_fixed, shrunk = _smaller(fixed, side)
    low_moving, shrunk_moving = _smaller(moving, max(16, round(max(moving.shape[2:]) * shrunk / start.size)))
    to_low, from_low = _rescale(shrunk_moving), _rescale(shrunk).inverse()
    here, best = to_low.after(start).after(from_low), Candidate(start, -1.0)
    grid, area = pixel_grid(low_fixed), low_fixed.shape[2:].numel()
    middle, radius = (np.array(low_fixed.shape[2:]) - 1) / 2, max(low_fixed.shape[2:]) / 2
    centred = (grid - torch.from_numpy(middle).to(grid).view(1, 2, 1, 1)) / radius
    powers = torch.cat([centred, torch.ones_like(grid[:, :1])], 1)[0]  # row, column and 1, of which affine maps consist
    windows = local_windows(low_fixed, window=max(WINDOW, side // 10))
    fixed_parts, fixed_mask = _with_edges(low_fixed[:, :1]), _whole(low_fixed[:, 1:])
    for step in range(steps + 1):
        points = here.at(grid)
        warped = _with_edges(_sample(low_moving[:, :1], points, outside="border"))
        mask = _shrunk_by(_whole(_sample(low_moving[:, 1:], points, outside="zeros")), 1) * fixed_mask
        measure = Correlation(
            fixed_parts, EDGE_WEIGHTS, MaskedWindows(windows, mask), signed=False, flat=False, floor=FLOOR
        )
        value, slope, curvature = measure(warped)
        covered = mask.sum().item()
        share = covered / min(area, low_moving.shape[2:].numel() / here.size**2)
        stretch = np.linalg.svd(here.matrix, compute_uv=False)
        possible = share > OVERLAP / 2 and stretch[0] < STRETCH * stretch[1]
        score = value.item() * min(share, 1.0) ** 0.5 * (covered / area) ** 0.25 if possible else -1.0
        if score > best.score:
            best = Candidate(to_low.inverse().after(here).after(from_low.inverse()), score)
        if step == steps or score == -1.0:
            break
        change = _newton(slope, curvature, warped, powers, BASES[kind])
        change *= min(LONGEST / np.abs(change).sum(), 1.0)
        matrix = np.eye(2) + change[:, :2] / radius
        here = here.after(Affine(matrix, change[:, 2] + middle - matrix @ middle))
    return best


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


def _smaller(image: Tensor, side: int) -> tuple[Tensor, float]:
    """``image`` with ``side`` pixels along its longer side at most, and by how much it shrank."""
    factor = min(side / max(image.shape[2:]), 1.0)
    if factor == 1:
        return image, 1.0
    size = [max(round(n * factor), 8) for n in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False), factor


def _rescale(factor: float) -> Affine:
    """From the pixels of an image to those of the same image shrunk by ``factor``."""
    return Affine(np.eye(2) * factor, np.full(2, factor / 2 - 0.5))


def _whole(mask: Tensor) -> Tensor:
    """1 where all that a pixel was made from is in the mask."""
    return (mask > 0.99).to(mask)


def _shrunk_by(mask: Tensor, pixels: int) -> Tensor:
    """A mask less its rim."""
    return 1 - F.max_pool2d(1 - mask, 2 * pixels + 1, 1, pixels)


def _sample(images: Tensor, points: Tensor, *, outside: str) -> Tensor:
    """(K, C, h, w) at points (K, 2, H, W), row and column in pixels."""
    height, width = images.shape[2:]
    grid = torch.stack([(points[:, 1] + 0.5) * (2 / width) - 1, (points[:, 0] + 0.5) * (2 / height) - 1], -1)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)
