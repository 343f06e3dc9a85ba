"""Dense registration: a vector at every pixel or block, moved coarse to fine by small smooth steps that are composed.

Each iteration takes a damped Newton step towards a higher similarity, blurs it, caps its length, and composes it with
the field (greedy diffeomorphic registration: Christensen et al. 1996, doi:10.1109/83.536892). Steps that small and
smooth have no folds, and so has what they compose to.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.outcome import Refinement
from cnnreg.engine.pyramid import Level, decisive, prolong, restrict
from cnnreg.geometry.fields import Warper, jacobian_determinant
from cnnreg.similarity.filters import Blur, by_displacement
from cnnreg.watching import unwatched

SHARES = (0.06, 0.4, 0.34, 0.2)  # of the iterations, by level from the finest; the last holds for all coarser ones
TINY = 1e-20  # where nothing is steep, nothing moves


def dense(
    levels: list[Level],
    starts: Mapping[str, Tensor],
    *,
    steps: int,
    config: RefinementConfig,
    size: tuple[int, int],
    on_step: Callable[[int, Tensor], None] = unwatched,
) -> Refinement:
    """The field (B, 2, H, W), ``size``, after ``steps`` iterations on ``levels``, finest first.

    The coarsest level starts from the identity. At the next that shows edges, what it found competes with the identity
    itself and with ``starts``, fields (B, 2, H, W): each pair goes on from the one of its lowest energy.
    """
    energies: list[Tensor] = []
    counts, length = split(steps, len(levels)), config.step_size * step_factor(steps)
    contest, field = decisive(levels), levels[-1].identity
    for n, level in reversed(list(enumerate(levels))):
        if n == contest:
            candidates = {"coarse": field} if energies else {}
            candidates |= {name: restrict(start, levels[: n + 1]) for name, start in starts.items()}
            winner, field = _best_start(level, {"identity": level.identity, **candidates})
        for energy, moved in climb(level, field, counts[n], config, step=length):
            field = moved
            energies.append(energy)
            on_step(len(energies), energy)
        if n:
            field = prolong(field, level, levels[n - 1])
    field = levels[0].to_pixels(without_folds(field, levels[0], size))[..., : size[0], : size[1]]
    names = [["identity", *candidates][i] for i in winner.tolist()]
    sizes = [2**n for n in reversed(range(len(levels))) for _ in range(counts[n])]
    return Refinement(field, names, torch.stack(energies), sizes)


def climb(
    level: Level, field: Tensor, steps: int, config: RefinementConfig, *, step: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """The iterations on one level, from ``field`` on: yields the energy (B,) before each, and the field after it."""
    warp_field = Warper(field)
    total_sigma = (
        config.total_sigma * min(step / config.step_size, 1.0) ** 0.25
    )  # shorter steps, less total_sigma in each
    smooth, soften = (Blur(field, sigma / level.cell) for sigma in (config.update_sigma, total_sigma))
    for _ in range(steps):
        warped = level.warp(field)
        similarity, slope, curvature = level.similarity(warped)
        energy, pushes = -similarity, level.to_cells(by_displacement(slope, curvature, warped))
        if level.pull:
            energy += level.pull.energy(field)
            pushes[:, :2] += level.pull.downhill(field)
        downhill, steepness = smooth(pushes).split((2, 1), 1)
        resistance = steepness + config.damping * steepness.mean((2, 3), keepdim=True) + TINY
        update = downhill / (resistance + level.pull.stiffness if level.pull else resistance)
        length = torch.hypot(update[:, :1], update[:, 1:])
        update *= (config.max_step / length).clamp_(max=step)
        field = soften(warp_field(field, update / level.cell).add_(update))
        yield energy, field


def _best_start(level: Level, candidates: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """For each pair, the index of the candidate of the lowest energy, and its field."""
    fields = torch.stack(list(candidates.values()))
    winner = torch.stack([level.energy(field) for field in fields]).argmin(0)
    return winner, fields[winner, torch.arange(len(winner), device=winner.device)]


def split(steps: int, levels: int) -> list[int]:
    """Iterations of each level, finest first; a finest level of less than two goes to the next."""
    shares = [SHARES[min(level, len(SHARES) - 1)] for level in range(levels)]
    ends = [round(steps * sum(shares[level:]) / sum(shares)) for level in range(levels + 1)]
    counts = [a - b for a, b in pairwise(ends)]
    if levels > 1 and counts[0] < 2:
        counts[1] += counts[0]
        counts[0] = 0
    return counts


def step_factor(steps: int) -> float:
    """What the step size is multiplied by: few iterations take longer steps, and many take shorter ones.

    More iterations then follow much the same way more closely. The length of all steps together grows like the root of
    their number, up to 200 and no further: beyond there is little but noise left to gain.
    """
    return min((50 / max(steps, 1)) ** 0.5, 2.0, 100 / max(steps, 1))


def without_folds(field: Tensor, level: Level, size: tuple[int, int]) -> Tensor:
    """A field on the cells of ``level`` with its folds on the first ``size`` pixels, and what is near, smoothed out.

    Steps of a pixel compose without folds, but for the rounding of interpolation at strong compression and at the rim.
    What little there is, is blended with an ever smoother field over an ever wider neighbourhood until none is left.
    """
    for sigma in (1.1**k for k in range(60)):
        folds = (jacobian_determinant(level.to_pixels(field)[..., : size[0], : size[1]]) <= 0)[:, None]
        if not folds.any():
            break
        folds = F.pad(folds, (0, level.size[1] - size[1], 0, level.size[0] - size[0]))
        blur, folds = Blur(field, sigma), level.to_cells(folds.to(field))
        near = blur(folds).mul_(20 * (level.cell * sigma) ** 2).clamp_(max=1)
        field = torch.lerp(field, blur(field), near)
    return field
