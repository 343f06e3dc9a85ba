"""Free-form registration: B-splines on a coarse grid, driven by one statistic of all pixels, coarse to fine.

Where two images differ in contrast, small windows agree by chance in many places, and what follows them goes astray.
A global statistic such as mutual information, and a field of few coefficients, do not. Each iteration is a step of
Gauss and Newton (Levenberg's damping, conjugate gradients) on the similarity minus the bending energy; it counts only
where the energy falls and nothing folds. After Rueckert et al. 1999, doi:10.1109/42.796284.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.outcome import Refinement
from cnnreg.engine.pyramid import Level, fill
from cnnreg.geometry.fields import Warper, jacobian_determinant, lengths
from cnnreg.geometry.splines import SplineFamily
from cnnreg.similarity.filters import gradient, halved
from cnnreg.watching import unwatched

LARGEST = 512  # pixels of the longest side: finer levels are left out, as the field is smooth and the statistic global
CELLS = 8  # of control points that the shorter side has at least, however small
SOLVER = 12  # conjugate gradients of a step
DAMPING = 0.1  # at the start of a level, in units of the mean curvature
EASIER, HARDER = 1 / 3, 10.0  # what it is multiplied by after a step that counts, and after one that does not
REACH = 0.15  # of the shorter side: what has farther to go is the business of the initial transform
LEAVING = 0.05  # of the mask: shading and rims, laid onto each other, look like agreement
STIFFER = 10.0  # bending beside the metric learned, whose values lie farther apart than those of mutual information
COMPRESSION = 0.1  # the least Jacobian determinant of a step that counts


@dataclass(frozen=True)
class _State:
    """Coefficients of a batch of pairs and what is known there; (B,) or with B first."""

    coefficients: Tensor
    energy: Tensor
    downhill: Tensor  # (B, 2, H, W): minus the derivative of minus the similarity by the field
    curvature: Tensor  # (B, 3, H, W): of rows, of rows with columns, of columns

    def where(self, better: Tensor, other: "_State") -> "_State":
        """``other`` for the pairs that are ``better`` (B,)."""

        def pick(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(better.view(-1, *[1] * (old.ndim - 1)), new, old)

        mine = (self.coefficients, self.energy, self.downhill, self.curvature)
        return _State(*map(pick, (other.coefficients, other.energy, other.downhill, other.curvature), mine))


def free_form(
    levels: Sequence[Level],
    starts: Mapping[str, Tensor],
    *,
    steps: int,
    config: RefinementConfig,
    size: tuple[int, int],
    region: bool = True,
    on_step: Callable[[int, Tensor], None] = unwatched,
) -> Refinement:
    """The field (B, 2, H, W), ``size``, after ``steps`` iterations on ``levels``, finest first.

    ``region``: the levels' mask is where both images show something, and what is pulled stays in it; else it is only
    what counts. Nearly affine fields first, on the coarsest levels; then B-splines. At the first of these, what was
    found competes with the identity and with ``starts``, fields (B, 2, H, W): each pair goes on from the one of its
    lowest energy.
    """
    finest = next(n for n, level in enumerate(levels) if max(level.size) <= LARGEST or n == len(levels) - 1)
    energies: list[Tensor] = []
    sizes: list[int] = []
    field, last, winner = levels[-1].pair[0].new_zeros(1), len(levels) - 1, torch.zeros(0)
    field = field.expand(len(levels[-1].pair[0]), 2, *levels[-1].size)
    for n, spacing, count in _plan(steps, finest, last, min(config.grid, levels[finest].side / CELLS)):
        field = _between(field, levels[n].size)
        stage = FreeForm(levels[n], config, spacing=spacing, region=region)
        if spacing and not len(winner):
            rivals = {name: _between(start, levels[n].size) for name, start in starts.items()}
            names = {"identity": torch.zeros_like(field), "coarse": field, **rivals}
            fields = torch.stack(list(names.values()))
            winner = torch.stack([stage.energy(field) for field in fields]).argmin(0)
            field = fields[winner, torch.arange(len(winner), device=winner.device)]
        for energy, moved in stage.climb(field, count):
            field = moved
            energies.append(energy)
            sizes.append(2**n)
            on_step(len(energies), energy)
    field = _between(field, levels[0].size)[..., : size[0], : size[1]]
    return Refinement(field, [list(names)[i] for i in winner.tolist()], torch.stack(energies), sizes)


def _plan(steps: int, finest: int, coarsest: int, grid: float) -> list[tuple[int, float | None, int]]:
    """Level, spacing of control points (None: nearly affine) and iterations of each stage, these in equal parts."""
    stages: list[tuple[int, float | None]] = [(n, None) for n in (coarsest, coarsest - 1) if n >= finest]
    stages += [(n, grid) for n in range(coarsest, finest - 1, -1)]
    ends = [round(steps * k / len(stages)) for k in range(len(stages) + 1)]
    return [(*stage, b - a) for stage, (a, b) in zip(stages, pairwise(ends), strict=True)]


def _between(field: Tensor, size: tuple[int, int]) -> Tensor:
    """A field on the pixels of one level on those of another, finer or coarser."""
    power = round(math.log2(size[0] / field.shape[2]))
    for _ in range(abs(power)):
        if power > 0:
            field = 2 * F.interpolate(field, scale_factor=2, mode="bilinear", align_corners=False)
        else:
            field = fill(halved(fill(field)) / 2)
    return field[..., : size[0], : size[1]]


class FreeForm:
    """A level with a family of fields on its pixels."""

    def __init__(self, level: Level, config: RefinementConfig, *, spacing: float | None, region: bool) -> None:
        self.level, self.family = level, SplineFamily((level.size[0], level.size[1]), spacing, level.pair[0])
        self.region = level.mask if region else None
        self.weight = config.bending * level.side**2 * (STIFFER if config.similarity == "learned" else 1)
        self.warper = Warper(level.pair[0])
        self.block = max(
            n for n in (1, 2, 4) if n <= max((spacing or 1) / 4, 1)
        )  # pixels along each side of one curvature
        self.coarse = self.family.every(self.block)

    def climb(self, field: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterations from ``field`` (B, 2, H, W) on: yields the energy (B,) before each, and the field after it."""
        state = self._look(self.family.fit(field))
        damping = torch.full_like(state.energy, DAMPING)
        for _ in range(steps):
            before = state.energy
            trial = self._look(state.coefficients + self._step(state, damping.view(-1, 1, 1, 1)))
            better = trial.energy < before
            state = state.where(better, trial)
            damping = damping * torch.where(better, EASIER, HARDER)
            yield before, self.family.field(state.coefficients)

    def energy(self, field: Tensor) -> Tensor:
        """Of the member nearest to a field, (B,)."""
        return self._look(self.family.fit(field)).energy

    def _look(self, coefficients: Tensor) -> _State:
        field = self.family.field(coefficients)
        warped = self.warper(self.level.images[1], field)
        value, slope, curvature = self.level.similarity(warped)
        down, right = gradient(warped)
        pairs = ((down, down), (down, right), (right, right))
        bent = (coefficients * self.family.bending(coefficients)).sum((1, 2, 3))
        wild = jacobian_determinant(field).amin((1, 2)) < COMPRESSION
        if self.region is not None:
            wild |= leaving(self.region, self.warper(self.region, field)) > LEAVING
        wild |= lengths(field).amax((1, 2)) > REACH * self.level.side
        return _State(
            coefficients,
            torch.where(wild, torch.inf, self.weight / 2 * bent - value),
            torch.cat([(slope * g).sum(1, keepdim=True) for g in (down, right)], 1),
            F.avg_pool2d(torch.cat([(curvature * a * b).sum(1, keepdim=True) for a, b in pairs], 1), self.block),
        )

    def _step(self, state: _State, damping: Tensor) -> Tensor:
        """Solves (J' K J + bending + damping) step = downhill by conjugate gradients."""
        family, (a, b, c) = self.coarse, (self.block**2 * state.curvature).split(1, 1)
        level = damping * (a + c).sum((1, 2, 3), keepdim=True) / (2 * family.shape[0] * family.shape[1])

        def product(x: Tensor) -> Tensor:
            y, z = family.field(x).split(1, 1)
            curved = family.transpose(torch.cat([a * y + b * z, b * y + c * z], 1))
            return curved + self.weight * family.bending(x) + level * x

        downhill = self.family.transpose(state.downhill) - self.weight * family.bending(state.coefficients)
        return conjugate_gradients(product, downhill, SOLVER)


def leaving(mask: Tensor, warped: Tensor) -> Tensor:
    """The share of a mask (B, 1, H, W) that is pulled from outside of it, (B,)."""
    return (mask * (1 - warped)).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)


def conjugate_gradients(product: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """x with ``product``(x) = ``right``, (B, C, h, w); ``product`` is symmetric and positive, for each pair apart."""
    x, rest = torch.zeros_like(right), right
    direction, square = rest, rest.square().sum((1, 2, 3), keepdim=True)
    for _ in range(iterations):
        along = product(direction)
        share = square / (direction * along).sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
        x, rest = x + share * direction, rest - share * along
        last, square = square, rest.square().sum((1, 2, 3), keepdim=True)
        direction = rest + square / last.clamp_min(1e-30) * direction
    return x
