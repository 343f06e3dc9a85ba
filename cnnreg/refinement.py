"""One-shot registration on the field itself: coarse to fine, by small smooth steps that are composed.

Each step climbs the local correlation of the images and of their edges: the gradient, blurred, at a pace set by one
number per pair, nowhere longer than a pixel or so. Such steps are diffeomorphic, and so is what they compose to
(greedy diffeomorphic registration: Christensen et al. 1996, doi:10.1109/83.536892).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.correlation import LocalCorrelation
from cnnreg.fields import Warper, jacobian_determinant
from cnnreg.watching import unwatched

COARSEST = 32  # pixels of the shortest side
DECISIVE = 64  # pixels of the shortest side: here the starts compete, and from here on edges are seen
SHARES = (0.1, 0.4, 0.34, 0.16)  # of the iterations, by level from the finest; the last holds for all coarser ones
FINE = 256  # pixels of the shortest side: from here on the field lives on blocks of 2 x 2 pixels
EDGE_GAIN = 4.0  # brings gradients of intensities in [0, 1] to that range


@dataclass(frozen=True)
class Refinement:
    """Fields of a batch of pairs, and how they were reached."""

    field: Tensor  # (B, 2, H, W) in pixels
    start: list[str]  # the winner of each pair: "identity", "coarse", or a name that was given
    energies: Tensor  # (N, B): minus the similarity before each iteration, along the winner's path
    levels: list[int]  # pixels of the image per pixel of the level, by iteration


@torch.no_grad()
def refine(
    fixed: Tensor,
    moving: Tensor,
    starts: Mapping[str, Tensor],
    *,
    steps: int,
    config: RefinementConfig,
    on_step: Callable[[int], None] = unwatched,
) -> Refinement:
    """Register ``moving`` to ``fixed``, (B, 1, H, W) each in [0, 1], in ``steps`` iterations in all.

    The coarsest level starts from the identity. At the first level of 64 pixels, what it found competes with the identity
    itself and with ``starts``, fields (B, 2, H, W): each pair goes on from the one of its lowest energy.
    """
    pyramid = _pyramid(fixed, moving)
    counts = split(steps, len(pyramid))
    decisive = max((level for level, images in enumerate(pyramid) if _side(images[0]) >= DECISIVE), default=0)
    field = _to_cells(torch.zeros_like(pyramid[-1][0]).expand(-1, 2, -1, -1))
    winner, names = torch.zeros(len(fixed), dtype=torch.long, device=fixed.device), ["identity"]
    energies: list[Tensor] = []
    with _denormals_flushed(fixed):
        for level in reversed(range(len(pyramid))):
            images = pyramid[level]
            if level == decisive:
                candidates = {"identity": torch.zeros_like(field)}
                if energies:
                    candidates["coarse"] = field
                candidates |= {name: _restrict(start, level) for name, start in starts.items()}
                names, fields = list(candidates), torch.stack(list(candidates.values()))
                if len(names) > 1:
                    winner = torch.stack([energy(one, *images, config) for one in fields]).argmin(0)
                field = fields[winner, torch.arange(len(fixed), device=fixed.device)]
            field, history = climb(field, *images, counts[level], config)
            energies += list(history)
            if level:
                field = _prolong(field, images[0], pyramid[level - 1][0])
        field = _to_pixels(field, pyramid[0][0])[..., : fixed.shape[2], : fixed.shape[3]]
    levels = [2**level for level in reversed(range(len(pyramid))) for _ in range(counts[level])]
    return Refinement(unfold(field), [names[i] for i in winner.tolist()], torch.stack(energies), levels)


def climb(
    field: Tensor, fixed: Tensor, moving: Tensor, steps: int, config: RefinementConfig
) -> tuple[Tensor, Tensor]:
    """``steps`` iterations on one level.

    Args:
        field: (B, 2, h / cell, w / cell), on the cells, in pixels of the level.
        fixed, moving: (B, 1, h, w).

    Returns:
        The field, and the energy before each iteration (steps, B).
    """
    fixed, moving, weights = _features(fixed, moving, config)
    cell = _cell(fixed)
    similarity = LocalCorrelation(fixed, cell=cell, window=config.window, floor=config.floor)
    warp, warp_cells = Warper(fixed), Warper(field)
    energies = fixed.new_empty(steps, fixed.shape[0])
    mean_square = fixed.new_zeros(fixed.shape[0], 1, 1, 1)
    for step in range(steps):
        warped = warp(moving, _to_pixels(field, fixed))
        correlation, slope = similarity(warped)
        energies[step] = -(correlation * weights).sum(1)
        slope = slope.mul_(weights[..., None, None] * slope[0, 0].numel())
        force = _to_cells(_dot_gradient(slope, warped))
        for _ in range(4 // cell**2):
            force = _blur(force)
        mean_square += (force.square().mean((1, 2, 3), keepdim=True) - mean_square) / (step + 1)
        update = force * (config.pace / (mean_square.sqrt() + config.damping))
        update *= config.longest / update.norm(dim=1, keepdim=True).clamp_min(config.longest)
        field = update + warp_cells(field, update / cell)
        field = _soften(field, config.softening * 2 / cell)
    return field, energies


def energy(field: Tensor, fixed: Tensor, moving: Tensor, config: RefinementConfig) -> Tensor:
    """Minus the similarity of one level, (B,); arguments as in :func:`climb`."""
    fixed, moving, weights = _features(fixed, moving, config)
    similarity = LocalCorrelation(fixed, cell=_cell(fixed), window=config.window, floor=config.floor)
    return -(similarity(Warper(fixed)(moving, _to_pixels(field, fixed)))[0] * weights).sum(1)


def split(steps: int, levels: int) -> list[int]:
    """Iterations of each level, finest first; a finest level of less than two goes to the next."""
    shares = [SHARES[min(level, len(SHARES) - 1)] for level in range(levels)]
    ends = [round(steps * sum(shares[level:]) / sum(shares)) for level in range(levels + 1)]
    counts = [a - b for a, b in zip(ends, ends[1:], strict=False)]
    if levels > 1 and counts[0] < 2:
        counts[1] += counts[0]
        counts[0] = 0
    return counts


def unfold(field: Tensor, *, rounds: int = 30) -> Tensor:
    """The field with every fold smoothed out, and what lies around it; as it is where there is none."""
    for _ in range(rounds):
        folds = (jacobian_determinant(field) <= 0.0)[:, None]
        if not folds.any():
            break
        near = F.avg_pool2d(F.max_pool2d(folds.to(field), 9, 1, 4), 5, 1, 2)
        field = torch.lerp(field, _blur(field), near)
    return field


def _pyramid(fixed: Tensor, moving: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Both images, finest first, each level half the one before; sides multiples of a cell."""
    pair = torch.cat([fixed, moving], 1)
    levels = [_fill(pair)]
    while _side(levels[-1]) >= 2 * COARSEST:
        levels.append(_fill(F.avg_pool2d(levels[-1], 2)))
    return [(level[:, :1], level[:, 1:]) for level in levels]


def _fill(x: Tensor) -> Tensor:
    """Repeat the last row and column up to whole cells."""
    down, right = (side % 2 for side in x.shape[2:])
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def _side(image: Tensor) -> int:
    return min(image.shape[2:])


def _cell(image: Tensor) -> int:
    """Pixels of a level per side of the blocks on which its field lives: small levels are cheap and need each pixel."""
    return 2 if _side(image) >= FINE else 1


def _restrict(field: Tensor, level: int) -> Tensor:
    """A field on the image's pixels, on the cells of ``level`` and in its pixels."""
    for _ in range(level):
        field = F.avg_pool2d(_fill(field), 2) / 2
    return _to_cells(_fill(field))


def _prolong(field: Tensor, image: Tensor, finer: Tensor) -> Tensor:
    """A field on the cells of one level on those of the next finer; the images tell the two levels' sizes."""
    field = _to_pixels(field, image)
    if _cell(finer) == 1:
        field = F.interpolate(field, scale_factor=2, mode="bilinear", align_corners=False)
    height, width = (side // _cell(finer) for side in finer.shape[2:])
    return 2 * field[..., :height, :width]


def _to_cells(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, _cell(x)) if _cell(x) > 1 else x


def _to_pixels(field: Tensor, image: Tensor) -> Tensor:
    if field.shape[2:] == image.shape[2:]:
        return field
    return F.interpolate(field, size=image.shape[2:], mode="bilinear", align_corners=False)


def _features(fixed: Tensor, moving: Tensor, config: RefinementConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Intensities and, on levels that resolve them, edges: (B, C, h, w) twice, and the weights (C,)."""
    if _side(fixed) < DECISIVE or not config.edges:
        return fixed, moving, fixed.new_ones(1)
    pairs = (torch.cat([image, _edges(image)], 1) for image in (fixed, moving))
    return *pairs, fixed.new_tensor([1 - config.edges, config.edges])


def _edges(image: Tensor) -> Tensor:
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return torch.hypot(down, right).mul_(EDGE_GAIN / 2)


def _dot_gradient(slope: Tensor, warped: Tensor) -> Tensor:
    """Sum over the channels of the slope times the image's gradient: (B, 2, h, w)."""
    padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return torch.stack([(slope * down).sum(1), (slope * right).sum(1)], 1) / 2


def _blur(x: Tensor) -> Tensor:
    """Binomial filter 1 4 6 4 1: a Gaussian of one cell, or one pixel of what it is given."""
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")
    for _ in range(4):
        x = x[..., 1:, :] + x[..., :-1, :]
        x = x[..., 1:] + x[..., :-1]
    return x / 256


def _soften(x: Tensor, amount: float) -> Tensor:
    """Filter a, 1 - 2a, a along both axes."""
    padded = F.pad(x, (0, 0, 1, 1), mode="replicate")
    x = torch.lerp(x, (padded[:, :, 2:] + padded[:, :, :-2]) / 2, 2 * amount)
    padded = F.pad(x, (1, 1, 0, 0), mode="replicate")
    return torch.lerp(x, (padded[..., 2:] + padded[..., :-2]) / 2, 2 * amount)


@contextmanager
def _denormals_flushed(like: Tensor) -> Iterator[None]:
    """Blurred fields fade into denormal numbers, which a CPU handles many times slower; SciPy must not see the flag."""
    flushed = like.device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(False)
