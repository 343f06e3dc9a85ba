"""How alike two images are: differentiable measures, 1 for images that agree."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-8  # of a variance of intensities in [0, 1]: flat images score 0 instead of dividing by 0


def ncc(a: Tensor, b: Tensor) -> Tensor:
    """Normalised cross-correlation of whole images, (B, C, H, W) each -> (B,), in [-1, 1]; 1 is a perfect match.

    Indifferent to gain and offset of either image. A constant image scores 0.
    """
    a, b = a.flatten(1), b.flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    covariance, variance_a, variance_b = ((u * v).mean(1) for u, v in ((a, b), (a, a), (b, b)))
    return covariance / ((variance_a + _EPSILON) * (variance_b + _EPSILON)).sqrt()


def local_ncc(a: Tensor, b: Tensor, *, window: int = 9, floor: float = 1e-4) -> Tensor:
    """Mean correlation over all square windows inside the images, (B, 1, H, W) each -> (B,), in [-1, 1].

    Indifferent to gains and offsets that vary slowly. ``floor`` is added to each window's variance (intensities in
    [0, 1]), so that flat windows, which hold only noise, count as 0: an image with flat parts scores below 1 against
    itself.
    """

    window = min(window, *a.shape[2:])  # a long narrow image, made smaller for the network, can be lower than that

    def means(*images: Tensor) -> tuple[Tensor, ...]:
        return BoxMean.apply(torch.cat(images, dim=1), window).chunk(len(images), dim=1)  # type: ignore[no-untyped-call]

    mean_a, square_a = means(a, a * a)  # apart from the rest: where a is fixed, nothing is computed backwards
    mean_b, square_b, product = means(b, b * b, a * b)
    variance_a = (square_a - mean_a.square()).clamp_min(0) + floor
    variance_b = (square_b - mean_b.square()).clamp_min(0) + floor
    correlation = (product - mean_a * mean_b) / (variance_a * variance_b).sqrt()
    return correlation.flatten(1).mean(1)


class Climb(torch.autograd.Function):
    """The value of a measure of :mod:`.measures`, whose derivative by hand stands in for a recorded graph."""

    @staticmethod
    def forward(ctx: Any, warped: Tensor, measure: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        value, slope, _ = measure(warped)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.view(-1, 1, 1, 1) * ctx.saved_tensors[0], None


class BoxMean(torch.autograd.Function):
    """Means of (..., H, W) over all square windows inside; several times faster than ``avg_pool2d`` and its gradient.

    The adjoint of a box filter is the box filter of the zero-padded gradient, so both ways take the same few additions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int) -> Tensor:
        ctx.window = window
        return window_sum(window_sum(x, window, -2), window, -1) * (1 / window**2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rim = ctx.window - 1
        return BoxMean.forward(ctx, F.pad(gradient, (rim, rim, rim, rim)), ctx.window), None


def window_sum(x: Tensor, window: int, dim: int) -> Tensor:
    """Sums of ``window`` successive values along ``dim``, by doubling: log2(window) additions, and no cancellation."""
    length = x.shape[dim] - window + 1
    total, start, width = None, 0, 1
    while width <= window:
        if window & width:
            part = x.narrow(dim, start, length)
            total = part if total is None else total + part
            start += width
        half = x.shape[dim] - width
        x = x.narrow(dim, 0, half) + x.narrow(dim, width, half) if 2 * width <= window else x
        width *= 2
    assert total is not None
    return total
