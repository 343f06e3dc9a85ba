"""Where an image may lie on another: every turn by 10 degrees, some sizes, every shift.

The orientations of edges are correlated, which neither brightness nor inverted contrast changes (after Fitch et al.
2002, doi:10.5244/C.16.11, with doubled angles). Shifts alone are found at a finer resolution from the spectra.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine.drawing import sample, scaled, shrinking, shrunk_by, whole
from cnnreg.geometry.affine import Affine, Array
from cnnreg.geometry.fields import pixel_grid
from cnnreg.similarity.filters import Blur, gradient

COARSE = 72  # pixels of the longer side
FINE = 512  # of the shifts from the spectra
TURNS = 36
SIZES = tuple(2 ** (k / 3) for k in range(-4, 5))
CANDIDATES = 8  # besides the best of every size
OVERLAP = 0.25  # of the smaller image: what shares less is no candidate


def sizes_of(fixed: Tensor, moving: Tensor, given: float, *, factors: Sequence[float] = SIZES) -> list[float]:
    """Fixed pixels along a moving pixel: ``factors`` times what the files say, and times what fills the image."""
    fill = (math.prod(fixed.shape[2:]) / math.prod(moving.shape[2:])) ** 0.5
    tried: list[float] = []
    for size in [middle * factor for middle in (1 / given, fill) for factor in factors]:
        if all(abs(math.log2(size / other)) > 0.16 for other in tried):
            tried.append(size)
    return tried


def search(fixed: Tensor, moving: Tensor, *, sizes: list[float]) -> list["Place"]:
    """The best maps of fixed to moving pixels, each unlike the others, and the best of every size; best first.

    Both images are drawn, see :mod:`cnnreg.engine.drawing`; ``sizes`` are fixed pixels along a moving pixel.
    """
    found: list[Place] = []
    for size in sizes:
        # Both are drawn with pixels of one size; neither much larger than COARSE, or the transforms take long.
        larger = size * math.sqrt(math.prod(moving.shape[2:]) / math.prod(fixed.shape[2:]))
        shrink = shrinking(fixed, round(COARSE * min(1.0, 1.5 / larger)))
        low_fixed, down = scaled(fixed, shrink)
        low_moving, down_moving = scaled(moving, size * shrink)
        features = _Oriented(low_fixed[:, :1], whole(low_fixed[:, 1:]))
        for score, turn, low in _shifts(features, low_moving):
            found.append(Place(score, size, turn, down_moving.inverse().after(low).after(down)))
    center, reach = (np.array(fixed.shape[2:]) - 1) / 2, 0.08 * math.sqrt(math.prod(moving.shape[2:]))
    found.sort(key=lambda place: -place.score)
    firsts = [next(place for place in found if place.size == size) for size in {place.size for place in found}]
    kept: list[Place] = []
    for place in found:
        if all(place.differs(other, center, reach) for other in kept):
            kept.append(place)
        if len(kept) == CANDIDATES:
            break
    return sorted([*kept, *(p for p in firsts if p not in kept)], key=lambda place: -place.score)


def shifts(fixed: Tensor, moving: Tensor, given: Affine) -> list[Affine]:
    """``given`` shifted to where the images correlate best, as they are and with all frequencies alike.

    The second is phase correlation (Kuglin and Hines 1975); the first is better in noise.
    """
    low, down = scaled(fixed, shrinking(fixed, FINE))
    here = given.after(down.inverse())
    points = here.at(pixel_grid(low))
    area = whole(low[:, 1:]), whole(sample(moving[:, 1:], points, outside="zeros"))
    images = low[:, :1], sample(moving[:, :1], points, outside="border")
    even = [(x - (x * m).sum() / m.sum().clamp_min(1)) * m for x, m in zip(images, area, strict=True)]
    size = [2 * n for n in low.shape[2:]]
    a, b = (torch.fft.rfft2(x, s=size) for x in even)
    product = b * a.conj()
    found = []
    for spectrum in (product, product / (product.abs() + 1e-6 * product.abs().mean())):
        peak = int(torch.fft.irfft2(spectrum, s=size).argmax())
        way = (np.array([peak // size[1], peak % size[1]]) + low.shape[2:]) % size - np.array(low.shape[2:])
        found.append(here.after(Affine(np.eye(2), way.astype(float))).after(down))
    return found


@dataclass(frozen=True)
class Place:
    """A map of fixed to moving pixels, roughly, and how well it does among the others."""

    score: float
    size: float  # fixed pixels along a moving pixel
    turn: int  # of TURNS
    affine: Affine

    def differs(self, other: "Place", center: Array, reach: float) -> bool:
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
        self.mask = shrunk_by(mask, 2)
        self.vectors = doubled / (length.sqrt() + 1e-3) * self.mask
        self.squares = self.vectors.square().sum(1, keepdim=True)


def _possible_turns(fixed: Tensor, moving: Tensor) -> Tensor:
    """Those at which the images can overlap enough: two strips across each other do not."""
    sides = [sorted(image.shape[2:]) for image in (fixed, moving)]
    across = sides[0][0] * sides[1][0]
    smaller = min(math.prod(side) for side in sides)
    turns = [n for n in range(TURNS) if across >= OVERLAP * smaller * abs(math.sin(2 * math.pi * n / TURNS))]
    return torch.tensor(turns)


def _shifts(fixed: _Oriented, moving: Tensor) -> Iterator[tuple[float, int, Affine]]:
    """For every turn of ``moving``, the three best shifts: score, turn, and map of fixed to moving pixels."""
    height, width = moving.shape[2:]
    numbers = _possible_turns(fixed.mask, moving)
    angles = numbers * (2 * math.pi / TURNS)
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).view(-1, 2, 2)
    sides = (turns.abs() @ torch.tensor([float(height), float(width)])).amax(0).ceil().int() + 2
    canvas = pixel_grid(moving.new_empty(*sides.tolist())) - (sides.view(1, 2, 1, 1) - 1) / 2
    center = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    points = torch.einsum("kij,bjhw->kihw", turns, canvas) + center.view(1, 2, 1, 1)
    sources = moving.expand(len(turns), -1, -1, -1)
    image = sample(sources[:, :1], points, outside="border")
    inside = whole(sample(sources[:, 1:], points, outside="zeros"))
    turned = _Oriented(image, inside)
    size = [
        -(-(a + b) // 16) * 16 for a, b in zip(fixed.mask.shape[2:], sides.tolist(), strict=True)
    ]  # room for every shift, and quick to transform

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
    for row, turn in enumerate(numbers.tolist()):
        matrix = turns[row].double().numpy()
        for value, index in zip(best.values[row].tolist(), best.indices[row].tolist(), strict=True):
            shift = np.array([index // size[1], index % size[1]], dtype=float)
            shift -= np.where(shift >= fixed.mask.shape[2:], size, 0)
            yield value, turn, Affine(matrix, center.numpy() - matrix @ (shift + (sides.numpy() - 1) / 2))
