"""Local correlation with its derivative by hand: what one-shot registration on the field climbs.

The measure of :func:`cnnreg.similarity.local_ncc`, with a window around every cell, a square of one or more pixels,
cut off at the rim of the image. What depends on the fixed image alone is formed once, and no graph is recorded.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class LocalCorrelation:
    """Local NCC of a fixed image (B, C, H, W), sides multiples of ``cell``, with warped ones of the same shape.

    Args:
        fixed: intensities, about [0, 1], with their mean subtracted: running sums of smaller numbers are more exact.
        weights: of the channels, in the similarity; sum 1.
        cell: side of a cell in pixels.
        window: side of the square windows in pixels; rounded down to an odd number of cells.
        floor: added to each window's variance, so that flat windows, which hold only noise, count as 0.
    """

    def __init__(self, fixed: Tensor, weights: Sequence[float], *, cell: int, window: int, floor: float = 1e-4) -> None:
        cells = min(window, *fixed.shape[2:]) // cell
        self.cell, self.radius, self.floor = cell, max((cells - 1) // 2, 0), floor
        self.fixed = fixed
        self.per_pixel = self._gather(torch.ones_like(fixed[:1, :1])).reciprocal_()
        self.weights = fixed.new_tensor(weights).view(1, -1, 1, 1) / self.per_pixel.numel()
        self.outer = (self.per_pixel * self.weights).repeat(1, 3, 1, 1)
        self.mean, square = self._means(torch.cat([fixed, fixed.square()], 1)).chunk(2, 1)
        self.precision = (square - self.mean.square()).clamp_min_(0).add_(floor).reciprocal_()
        self.parts = fixed.new_empty(len(fixed), 3, *fixed.shape[1:])

    def __call__(self, warped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The similarity (B,), its derivative by each pixel of ``warped`` (B, C, H, W), and the size of its second.

        Correlation is (covariance + floor) / sqrt(v_fixed v_warped) with variances v that include the floor, so an
        image agrees with itself everywhere, flat parts included, and is in equilibrium. With A = 1 / sqrt(v_fixed
        v_warped) and B = correlation / v_warped, it is fixed S(A) - warped S(B) - S(A m_fixed - B m_warped).
        The m are the windows' means; S sums, for each pixel, over all windows that contain it, each divided by its
        number of pixels (after Hermosillo et al. 2002, doi:10.1023/A:1020830525823). The second is S(A), as of a sum of
        squared differences of normalised images.
        """
        self.parts[:, 0] = warped
        torch.mul(warped, warped, out=self.parts[:, 1])
        torch.mul(warped, self.fixed, out=self.parts[:, 2])
        mean, square, product = self._means(self.parts.flatten(1, 2)).chunk(3, 1)
        precision = torch.addcmul(square, mean, mean, value=-1).clamp_min_(0).add_(self.floor).reciprocal_()
        a = (precision * self.precision).sqrt_()
        correlation = torch.addcmul(product, self.mean, mean, value=-1).add_(self.floor).mul_(a)
        b = precision.mul_(correlation)
        offset = torch.addcmul(b * mean, a, self.mean, value=-1)
        by_fixed, by_warped, offset = self._scatter(torch.cat([a, b, offset], 1).mul_(self.outer)).chunk(3, 1)
        slope = torch.addcmul(offset, self.fixed, by_fixed).addcmul_(warped, by_warped, value=-1)
        return correlation.mul_(self.weights).sum((1, 2, 3)), slope, by_fixed

    def _means(self, x: Tensor) -> Tensor:
        return self._gather(x).mul_(self.per_pixel)

    def _gather(self, x: Tensor) -> Tensor:
        """Sums of pixels over the window around each cell."""
        return _window_sum(_window_sum(x, self.radius, self.cell, -2), self.radius, self.cell, -1)

    def _scatter(self, x: Tensor) -> Tensor:
        """The transpose: for each pixel, the sum of the values of the windows that contain it."""
        cells = _window_sum(_window_sum(x, self.radius, 1, -2), self.radius, 1, -1)
        return F.interpolate(cells, scale_factor=self.cell, mode="nearest") if self.cell > 1 else cells


def _window_sum(x: Tensor, radius: int, cell: int, dim: int) -> Tensor:
    """Along ``dim``: for each run of ``cell`` values the sum of it and ``radius`` runs either side, cut off at the rim.

    Differences of one running sum: the cost does not grow with the window. One axis at a time, the running sum is never
    longer than a row, and float32 holds it (it does not hold an integral image).
    """
    total = x.cumsum(dim)
    ends = total[..., cell - 1 :: cell] if dim == -1 else total[..., cell - 1 :: cell, :]  # up to each run, included
    size = ends.shape[dim]
    radius = min(radius, size - 1)
    whole = ends.narrow(dim, size - 1, 1)
    result = torch.cat([ends.narrow(dim, radius, size - radius), *[whole] * radius], dim)
    result.narrow(dim, radius + 1, size - radius - 1).sub_(ends.narrow(dim, 0, size - radius - 1))
    return result
