"""Small filters of images (B, C, h, w) that record no graph: gradient, edges, Gaussian blur."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_GAIN = 4.0  # brings gradients of intensities in [0, 1] to that range


def gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and columns, the rim repeated outwards: (B, C, h, w) each."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return down.mul_(0.5), right.mul_(0.5)


def edges(image: Tensor) -> Tensor:
    """Lengths of the gradient, about [0, 1]: (B, C, h, w)."""
    return torch.hypot(*gradient(image)).mul_(EDGE_GAIN)


def by_displacement(slope: Tensor, curvature: Tensor, warped: Tensor) -> Tensor:
    """Derivative of the similarity by the displacement, rows and columns, and the size of its second: (B, 3, h, w).

    The second is Gauss and Newton's: curvature times squared image gradient, summed over the channels like the first.
    """
    down, right = gradient(warped)
    steep = down.square() + right.square()
    return torch.stack([(slope * down).sum(1), (slope * right).sum(1), (curvature * steep).sum(1)], 1)


def halved(image: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, (B, C, h, w) to (B, C, h // 2, w // 2): as ``avg_pool2d``, many times faster on a CPU.

    To the last bit the same, since the four are added in the same order.
    """
    if image.is_cuda:
        return F.avg_pool2d(image, 2)
    image = image[..., : image.shape[2] // 2 * 2, : image.shape[3] // 2 * 2]
    upper, lower = image[:, :, ::2], image[:, :, 1::2]
    total = torch.add(upper[..., ::2], upper[..., 1::2])
    return total.add_(lower[..., ::2]).add_(lower[..., 1::2]).mul_(0.25)


class Blur:
    """Gaussian blur of (B, C, h, w) as two matrix products; beyond the rim the nearest value counts."""

    def __init__(self, like: Tensor, sigma: float) -> None:
        rows, columns = (_gaussian(side, sigma, like.dtype, like.device) for side in like.shape[2:])
        self.rows, self.columns = rows, columns.T.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        return self.rows @ (x @ self.columns)


@lru_cache(maxsize=16)
def _gaussian(side: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix (side, side) that blurs a row of values."""
    reach = min(math.ceil(3 * sigma), side - 1)
    offsets = torch.arange(-reach, reach + 1, device=device)
    kernel = torch.exp(-(offsets / sigma).square() / 2)
    kernel = (kernel / kernel.sum()).to(dtype).expand(side, -1)
    sources = (torch.arange(side, device=device)[:, None] + offsets).clamp_(0, side - 1)
    return torch.zeros(side, side, dtype=dtype, device=device).scatter_add_(1, sources, kernel)
