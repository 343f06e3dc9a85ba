"""Random changes to batches of training pairs, all drawn from one generator."""

import math

import torch
from torch import Generator, Tensor

from cnnreg.geometry.fields import pixel_grid, sample


def augment(fixed: Tensor, moving: Tensor, *, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Swap, flip, turn, scale, shift and re-contrast pairs (B, 1, H, W) in [0, 1].

    Geometry is shared by the two images of a pair, so their deformation stays what it was; contrast is not.
    At strength 1: turns up to 15 degrees, scales by 0.85-1.15, shifts by 5 % of the size, gamma 0.8-1.25.
    """
    if strength == 0:
        return fixed, moving
    batch, device = fixed.shape[0], fixed.device  # the generator's own device decides nothing: same draws everywhere

    def uniform() -> Tensor:
        return ((torch.rand(batch, generator=generator) * 2 - 1) * strength).to(device)

    def coin() -> Tensor:
        return (torch.rand(batch, generator=generator) < 0.5).view(-1, 1, 1, 1).to(device)

    swap = coin()
    fixed, moving = torch.where(swap, moving, fixed), torch.where(swap, fixed, moving)
    both = _affine(torch.cat([fixed, moving], dim=1), uniform(), uniform(), uniform(), uniform())
    for axis in (2, 3):
        both = torch.where(coin(), both.flip(axis), both)
    gamma = torch.stack([uniform(), uniform()], dim=1).mul(math.log(1.25)).exp()
    both = both.clamp(1e-6, 1).pow(gamma.view(batch, 2, 1, 1).to(both))
    return both[:, :1], both[:, 1:]


def _affine(images: Tensor, turn: Tensor, scale: Tensor, down: Tensor, right: Tensor) -> Tensor:
    angle, factor = turn * math.radians(15), 1 + 0.15 * scale
    cos, sin = torch.cos(angle) * factor, torch.sin(angle) * factor
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1).to(images)
    size = images.new_tensor(images.shape[2:])
    centre = ((size - 1) / 2).view(1, 2, 1, 1)
    shift = (torch.stack([down, right], 1) * 0.05 * size).view(-1, 2, 1, 1)
    points = torch.einsum("bij,xjhw->bihw", matrix, pixel_grid(images) - centre) + centre + shift
    return sample(images, points)
