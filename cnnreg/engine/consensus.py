"""The map that most matches agree on: maps through two of them compete, the best are fitted to what they explain.

RANSAC (Fischler and Bolles 1981, doi:10.1145/358669.358692), with a cost that is cut off (Torr and Zisserman 2000,
doi:10.1006/cviu.1999.0832).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cnnreg.geometry.affine import Affine, Array

TRIALS = 600
APART = 16.0  # pixels between the two matches of a trial, at least
SIZES = (0.4, 2.5)  # of a map, against what is tried
STRETCH = 1.8
LEAST = 6  # matches of a map
FITTED, STEPS = 4, 6  # of the best trials, and how often each is fitted anew


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


def support(off: Tensor, reach: float) -> Tensor:
    """What matches that are ``off`` pixels off speak for a map, 1 to 0."""
    return (1 - (off / reach) ** 2).clamp_min(0)


def judged(matches: Matches, affine: Affine, reach: float) -> Found:
    """What matches speak for a map."""
    off = np.linalg.norm(affine(matches.fixed.double().numpy()) - matches.moving.double().numpy(), axis=1)
    value = float(_support(off * off, reach).sum())
    return Found(affine, value, value / max(len(off), 1), int((off < reach).sum()))


def explain(matches: Matches, kind: str, *, reach: float, turn: float) -> Found | None:
    """The map that most matches agree on, turned by at most ``turn``; None if hardly any do."""
    starts = _trials(matches, reach, turn)
    maps = [fit or start for start, fit in zip(starts, fitted(matches, starts, reach, kind), strict=True)]
    return max((judged(matches, affine, reach) for affine in maps), key=lambda one: one.evidence, default=None)


def _trials(matches: Matches, reach: float, turn: float) -> list[Affine]:
    """The similarities through two matches that most others agree with, best first."""
    count = len(matches.weights)
    if count < LEAST:
        return []
    generator = torch.Generator().manual_seed(count)
    chance = matches.weights + 1e-4 * matches.weights.max() + 1e-9
    ends = torch.multinomial(chance.expand(2, -1), TRIALS, replacement=True, generator=generator)
    p, q = (torch.complex(x[:, 0], x[:, 1]) for x in (matches.fixed, matches.moving))
    apart = p[ends[1]] - p[ends[0]]
    factor = (q[ends[1]] - q[ends[0]]) / torch.where(apart.abs() > 0, apart, torch.ones_like(apart))
    good = (apart.abs() > APART) & (factor.abs() > SIZES[0]) & (factor.abs() < SIZES[1])
    good &= factor.angle().abs() < turn
    factor, offset = factor[good], (q[ends[0]] - factor * p[ends[0]])[good]
    if not len(factor):
        return []
    off = torch.view_as_real(torch.addcmul(offset[:, None] - q, factor[:, None], p)).square().sum(2)
    value = (1 - off / reach**2).clamp_min(0) @ matches.weights
    best = value.topk(min(FITTED, len(value))).indices
    numbers = zip(factor[best].tolist(), offset[best].tolist(), strict=True)
    return [Affine(np.array([[a.real, -a.imag], [a.imag, a.real]]), np.array([b.real, b.imag])) for a, b in numbers]


def fitted(matches: Matches, starts: list[Affine], reach: float, kind: str) -> list[Affine | None]:
    """The maps that fit best to what they explain, one from each start; None if that is too little, or not sensible."""
    if not starts:
        return []
    here, there = matches.fixed.double().numpy(), matches.moving.double().numpy()
    matrices, offsets = np.stack([x.matrix for x in starts]), np.stack([x.offset for x in starts])
    good = np.ones(len(starts), bool)
    for _ in range(STEPS):
        off = here @ matrices.transpose(0, 2, 1) + offsets[:, None] - there
        weights = _support((off * off).sum(2), reach)
        good &= (weights > 0).sum(1) >= LEAST
        weights[~good] = 1.0
        matrices, offsets = least_squares(here, there, weights, kind)
        stretch = np.linalg.svd(matrices, compute_uv=False)
        good &= (stretch[:, 1] > SIZES[0] / 2) & (stretch[:, 0] < STRETCH * stretch[:, 1])
        good &= np.linalg.det(matrices) > 0
        if not good.any():
            break
    maps = zip(matrices, offsets, good, strict=True)
    return [Affine(matrix, offset) if sensible else None for matrix, offset, sensible in maps]


def least_squares(here: Array, there: Array, weights: Array, kind: str) -> tuple[Array, Array]:
    """Matrices (K, 2, 2) and offsets (K, 2) that take points (N, 2) to others, for each of the weights (K, N).

    Affine, similarities or rigid motions; the last two in closed form, after Umeyama 1991, doi:10.1109/34.88573.
    """
    share = weights / weights.sum(1, keepdims=True)
    centers = share @ here, share @ there
    a, b = here - centers[0][:, None], there - centers[1][:, None]
    weighted = share[..., None] * a
    across, within = b.transpose(0, 2, 1) @ weighted, a.transpose(0, 2, 1) @ weighted
    if kind == "affine":
        matrix = across @ np.linalg.pinv(within)
    else:
        turn = across[:, 0, 0] + across[:, 1, 1] + 1j * (across[:, 1, 0] - across[:, 0, 1])
        turn /= np.trace(within, axis1=1, axis2=2) if kind == "similarity" else np.maximum(np.abs(turn), 1e-12)
        matrix = np.stack([np.stack([turn.real, -turn.imag], 1), np.stack([turn.imag, turn.real], 1)], 1)
    return matrix, centers[1] - (matrix @ centers[0][..., None])[..., 0]


def _support(squares: Array, reach: float) -> Array:
    return np.maximum(1 - squares / reach**2, 0)
