"""Correlation with its derivative by hand: what one-shot registration on the field climbs.

The measures of :mod:`cnnreg.similarity.differentiable`, with windows around every cell, a square of one or more pixels,
cut off at the rim of the image, or with one window over the whole of it. What depends on the fixed image alone is
formed once, and no graph is recorded.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL = 200  # pixels of the longest side: up to here windows are matrix products, beyond differences of running sums


class Windows(Protocol):
    """Windows on an image (H, W), one at each of (h, w) places."""

    @property
    def weights(self) -> Tensor | float:
        """Of the places; their sum is 1."""

    def means(self, x: Tensor) -> Tensor:
        """Of each window, (B, C, H, W) to (B, C, h, w)."""

    def shares(self, x: Tensor) -> Tensor:
        """The transpose: each pixel's share of every window that contains it, (B, C, h, w) to (B, C, H, W)."""


class Correlation:
    """Weighted mean, over windows and channels, of the correlation of a fixed image (B, C, H, W) with warped ones.

    Args:
        fixed: intensities, about [0, 1], with their mean subtracted: sums of smaller numbers are more exact.
        weights: of the channels, in the similarity; sum 1.
        windows: where the correlation is taken, see :func:`local_windows`, :class:`WholeImage`, :class:`MaskedWindows`.
        signed: True climbs the correlation; False its square, to which inverted contrast is as good.
        flat: whether two flat windows agree; else windows count by the structure that the fixed image has in them.
        floor: added to each window's variance, so that noise in flat windows does not count.
    """

    def __init__(
        self,
        fixed: Tensor,
        weights: Sequence[float],
        windows: Windows,
        *,
        signed: bool = True,
        flat: bool = True,
        floor: float = 1e-4,
    ) -> None:
        self.fixed, self.windows, self.signed, self.floor = fixed, windows, signed, floor
        self.agreement = floor if flat else 0.0
        self.mean, square = windows.means(torch.cat([fixed, fixed.square()], 1)).chunk(2, 1)
        self.precision = (square - self.mean.square()).clamp_min_(0).add_(floor).reciprocal_()
        self.weights = fixed.new_tensor(weights).view(1, -1, 1, 1) * windows.weights
        if not flat:
            structure = windows.weights * (1 - floor * self.precision)
            structure /= structure.sum((2, 3), keepdim=True).clamp_min(1e-12)
            self.weights = fixed.new_tensor(weights).view(1, -1, 1, 1) * structure
        self.parts = fixed.new_empty(len(fixed), 3, *fixed.shape[1:])

    def __call__(self, warped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The similarity (B,), its derivative by each pixel of ``warped`` (B, C, H, W), and the size of its second.

        Correlation is (covariance + floor) / sqrt(v_fixed v_warped) with variances v that include the floor, so an
        image agrees with itself everywhere, flat parts included, and is in equilibrium. (Where flat windows do not
        agree, the covariance stands alone.) With A = 1 / sqrt(v_fixed
        v_warped) and B = correlation / v_warped, it is fixed S(A) - warped S(B) - S(A m_fixed - B m_warped); of the
        square, A and B are multiplied by twice the correlation. The m are the windows' means; S sums, for each pixel,
        over all windows that contain it, each divided by its number of pixels (after Hermosillo et al. 2002,
        doi:10.1023/A:1020830525823). The second is S(A), of the square S(B), as of a sum of squared differences of
        normalised images.
        """
        correlation, a, mean, precision = self.by_window(warped)
        weighted = correlation * self.weights
        if self.signed:
            value, a = weighted.sum((1, 2, 3)), a.mul_(self.weights)
        else:
            value, a = (weighted * correlation).sum((1, 2, 3)), a.mul_(weighted).mul_(2)
            weighted.mul_(correlation).mul_(2)
        b = precision.mul_(weighted)
        offset = torch.addcmul(b * mean, a, self.mean, value=-1)
        by_fixed, by_warped, offset = self.windows.shares(torch.cat([a, b, offset], 1)).chunk(3, 1)
        slope = torch.addcmul(offset, self.fixed, by_fixed).addcmul_(warped, by_warped, value=-1)
        return value, slope, by_fixed if self.signed else by_warped

    def by_window(self, warped: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each window (B, C, h, w): the correlation, A, and mean and inverse variance of ``warped``."""
        self.parts[:, 0] = warped
        torch.mul(warped, warped, out=self.parts[:, 1])
        torch.mul(warped, self.fixed, out=self.parts[:, 2])
        mean, square, product = self.windows.means(self.parts.flatten(1, 2)).chunk(3, 1)
        precision = torch.addcmul(square, mean, mean, value=-1).clamp_min_(0).add_(self.floor).reciprocal_()
        a = (precision * self.precision).sqrt_()
        correlation = torch.addcmul(product, self.mean, mean, value=-1).add_(self.agreement).mul_(a)
        return correlation, a, mean, precision


def local_windows(like: Tensor, *, window: int, cell: int = 1) -> Windows:
    """Square windows of ``window`` pixels, rounded down to an odd number of cells, one around each cell.

    A cell is a square of ``cell`` pixels; the sides of ``like`` are multiples of it.
    """
    radius = max((min(window, *like.shape[2:]) // cell - 1) // 2, 0)
    if max(like.shape[2:]) <= SMALL:
        return MatrixWindows(like, radius=radius, cell=cell)
    return RunningWindows(like, radius=radius, cell=cell)


def agreement(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> float:
    """How far the local correlations of two images (1, 1, H, W) have one sign: their sum by that of their sizes.

    About 1 where bright is bright in both, be they ever so badly aligned; -1 where contrast is inverted, and between
    where it is so in parts.
    """
    windows = local_windows(fixed, window=max(min(fixed.shape[2:]) // 8, 5))
    middle = fixed.mean()
    seen = MaskedWindows(windows, torch.ones_like(fixed) if mask is None else mask)
    measure = Correlation(fixed - middle, [1.0], seen, flat=False, floor=5e-4)
    weighted = measure.by_window(moving - middle)[0] * measure.weights
    return (weighted.sum() / weighted.abs().sum().clamp_min(1e-12)).item()


class WholeImage:
    """One window over everything: global correlation."""

    def __init__(self, like: Tensor) -> None:
        self.size, self.weights = like.shape[2:], 1.0

    def means(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def shares(self, x: Tensor) -> Tensor:
        return (x / self.size.numel()).expand(-1, -1, *self.size)


class MatrixWindows:
    """Means along columns and rows as two matrix products: on small images nothing takes fewer steps."""

    def __init__(self, like: Tensor, *, radius: int, cell: int) -> None:
        self.rows, self.columns = (self._matrix(like, side, radius, cell) for side in like.shape[2:])
        self.weights = cell**2 / like.shape[2:].numel()

    @staticmethod
    def _matrix(like: Tensor, side: int, radius: int, cell: int) -> Tensor:
        """(side / cell, side): the share of each pixel in each window, along one axis."""
        cells = torch.arange(side // cell, device=like.device)
        member = (cells[:, None] - cells.repeat_interleave(cell)).abs() <= radius
        return member.to(like) / member.sum(1, keepdim=True)

    def means(self, x: Tensor) -> Tensor:
        return self.rows @ (x @ self.columns.T)

    def shares(self, x: Tensor) -> Tensor:
        return self.rows.T @ (x @ self.columns)


class RunningWindows:
    """Differences of running sums: the cost does not grow with the window, nor faster than the image."""

    def __init__(self, like: Tensor, *, radius: int, cell: int) -> None:
        self.radius, self.cell, self.weights = radius, cell, cell**2 / like.shape[2:].numel()
        self.per_pixel = self._sums(torch.ones_like(like[:1, :1])).reciprocal_()

    def means(self, x: Tensor) -> Tensor:
        return self._sums(x).mul_(self.per_pixel)

    def shares(self, x: Tensor) -> Tensor:
        x = x * self.per_pixel
        cells = _running_sum(_running_sum(x, self.radius, 1, -2), self.radius, 1, -1)
        return F.interpolate(cells, scale_factor=self.cell, mode="nearest") if self.cell > 1 else cells

    def _sums(self, x: Tensor) -> Tensor:
        return _running_sum(_running_sum(x, self.radius, self.cell, -2), self.radius, self.cell, -1)


class MaskedWindows:
    """Windows that see only the pixels of a mask (B, 1, H, W) and count by how many of these they hold.

    One with less than a tenth of its pixels in the mask does not count.
    """

    def __init__(self, windows: Windows, mask: Tensor) -> None:
        self.windows, self.mask = windows, mask
        share = windows.means(mask)
        self.weights = share * (share > 0.1)
        self.weights /= self.weights.sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
        self.per_share = share.clamp_min(0.1).reciprocal_()

    def means(self, x: Tensor) -> Tensor:
        return self.windows.means(x * self.mask) * self.per_share

    def shares(self, x: Tensor) -> Tensor:
        return self.windows.shares(x * self.per_share) * self.mask


def _running_sum(x: Tensor, radius: int, cell: int, dim: int) -> Tensor:
    """Along ``dim``: for each run of ``cell`` values the sum of it and ``radius`` runs either side, cut off at the rim.

    One axis at a time, the running sum is never longer than a row, and float32 holds it (it does not hold an integral
    image).
    """
    total = x.cumsum(dim)
    ends = total[..., cell - 1 :: cell] if dim == -1 else total[..., cell - 1 :: cell, :]  # up to each run, included
    size = ends.shape[dim]
    radius = min(radius, size - 1)
    whole = ends.narrow(dim, size - 1, 1)
    result = torch.cat([ends.narrow(dim, radius, size - radius), *[whole] * radius], dim)
    result.narrow(dim, radius + 1, size - radius - 1).sub_(ends.narrow(dim, 0, size - radius - 1))
    return result
