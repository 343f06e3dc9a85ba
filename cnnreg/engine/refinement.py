"""One-shot registration on the field itself: coarse to fine, by small smooth steps that are composed.

Each iteration takes a damped Newton step towards a higher local correlation of the images and of their edges, blurs it,
caps its length, and composes it with the field (greedy diffeomorphic registration: Christensen et al. 1996,
doi:10.1109/83.536892). Steps that small and smooth have no folds, and so has what they compose to.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.landmarks import Landmarks
from cnnreg.engine.pyramid import DECISIVE, Level, prolong, pyramid, restrict
from cnnreg.errors import ConfigError
from cnnreg.geometry.fields import Warper, jacobian_determinant
from cnnreg.geometry.resampling import shrink
from cnnreg.similarity.correlation import agreement
from cnnreg.similarity.filters import Blur, by_displacement
from cnnreg.watching import unwatched

SHARES = (0.06, 0.4, 0.34, 0.2)  # of the iterations, by level from the finest; the last holds for all coarser ones
TINY = 1e-20  # where nothing is steep, nothing moves
ALIKE = 0.8  # agreement in the sign of local correlations above which two images have the same contrast


@dataclass(frozen=True)
class Refinement:
    """Fields of a batch of pairs, and how they were reached."""

    field: Tensor  # (B, 2, H, W) in pixels
    start: list[str]  # the winner of each pair: "identity", "coarse", or a name that was given
    energies: Tensor  # (N, B): minus the similarity before each iteration, along the winner's path
    levels: list[int]  # pixels of the image per pixel of the level, by iteration
    similarity: str  # as it was used: "auto" has become another


def refine(
    fixed: Tensor,
    moving: Tensor,
    starts: Mapping[str, Tensor],
    *,
    steps: int,
    config: RefinementConfig,
    mask: Tensor | None = None,
    landmarks: tuple[Tensor, Tensor] | None = None,
    on_step: Callable[[int, Tensor], None] = unwatched,
) -> Refinement:
    """Register ``moving`` to ``fixed``, (B, 1, H, W) each in [0, 1], in ``steps`` iterations in all.

    The coarsest level starts from the identity. At the next, what it found competes with the identity itself and with
    ``starts``, fields (B, 2, H, W): each pair goes on from the one of its lowest energy. The pairs of a batch do not
    influence each other. Only the pixels of ``mask``, (B, 1, H, W) of 0 and 1, count: as it does not move, nothing is
    gained by pushing what disagrees out of it. ``landmarks`` of a single pair, if their weight is not 0, are points
    (N, 2) of the fixed image and where they lie in the moving one, in pixels; those outside of the fixed image do not
    count. ``on_step`` is told the number of iterations done and the last energy.
    """
    energies: list[Tensor] = []
    if config.similarity == "auto":
        config = replace(config, similarity=fitting_similarity(fixed, moving, mask))
    with torch.inference_mode(), _denormals_flushed(fixed):
        pulling = Landmarks.on(fixed, *landmarks) if landmarks and config.landmarks else None
        levels = pyramid(fixed, moving, mask, config, pulling)
        counts, pace = split(steps, len(levels)), config.pace * hurry(steps)
        decisive = max((n for n, level in enumerate(levels) if level.side >= DECISIVE), default=0)
        field = levels[-1].identity
        for n, level in reversed(list(enumerate(levels))):
            if n == decisive:
                candidates = {"coarse": field} if energies else {}
                candidates |= {name: restrict(start, levels[: n + 1]) for name, start in starts.items()}
                winner, field = _best_start(level, {"identity": level.identity, **candidates})
            for energy, moved in climb(level, field, counts[n], config, pace=pace):
                field = moved
                energies.append(energy)
                on_step(len(energies), energy)
            if n:
                field = prolong(field, level, levels[n - 1])
        height, width = fixed.shape[2:]
        field = levels[0].to_pixels(unfold(field, levels[0], (height, width)))[..., :height, :width]
        names = [["identity", *candidates][i] for i in winner.tolist()]
    sizes = [2**n for n in reversed(range(len(levels))) for _ in range(counts[n])]
    return Refinement(field.clone(), names, torch.stack(energies), sizes, config.similarity)  # out of inference mode


def climb(
    level: "Level", field: Tensor, steps: int, config: RefinementConfig, *, pace: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """The iterations on one level, from ``field`` on: yields the energy (B,) before each, and the field after it."""
    warp_field = Warper(field)
    softening = config.softening * min(pace / config.pace, 1.0) ** 0.25  # shorter steps, less softening in each
    smooth, soften = (Blur(field, sigma / level.cell) for sigma in (config.smoothing, softening))
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
        update *= (config.longest / length).clamp_(max=pace)
        field = soften(warp_field(field, update / level.cell).add_(update))
        yield energy, field


def fitting_similarity(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> str:
    """What "auto" stands for: local correlation where bright is bright in both images, else MIND."""
    images = [shrink(image, 128) for image in (fixed, moving)]
    seen = [None] * len(fixed) if mask is None else (shrink(mask, 128) > 0.99).float().split(1)
    alike = {agreement(*pair) > ALIKE for pair in zip(*(image.split(1) for image in images), seen, strict=True)}
    if len(alike) > 1:
        raise ConfigError("the pairs of a batch are of both kinds, of like and of unlike contrast; name a similarity")
    return "lncc" if alike.pop() else "mind"


def _best_start(level: "Level", candidates: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
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


def hurry(steps: int) -> float:
    """What the pace is multiplied by: few iterations take longer steps, and many take shorter ones.

    More iterations then follow much the same way more closely. The length of all steps together grows like the root of
    their number, up to 200 and no further: beyond there is little but noise left to gain.
    """
    return min((50 / max(steps, 1)) ** 0.5, 2.0, 100 / max(steps, 1))


def unfold(field: Tensor, level: Level, size: tuple[int, int]) -> Tensor:
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


@contextmanager
def _denormals_flushed(like: Tensor) -> Iterator[None]:
    """Blurred fields fade into denormal numbers, which a CPU handles many times slower; SciPy must not see the flag.

    It is of the calling thread; torch's other threads have it for good from :func:`cnnreg.devices.prepare_cpu`.
    """
    flushed = like.device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(False)
