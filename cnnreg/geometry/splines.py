"""Smooth families of fields: cubic B-splines on a grid of control points, and nearly affine maps, their limit."""

import math
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor


class SplineFamily:
    """Fields (B, 2, H, W), linear in coefficients (B, 2, h, w): products of functions along rows and along columns.

    Args:
        size: (H, W) in pixels.
        spacing: between control points of cubic B-splines in pixels; None makes it the products of straight lines,
            that is affine fields and a twist, which the bending energy holds back.
        like: a tensor of the type and device that are wanted.
    """

    def __init__(self, size: tuple[int, int], spacing: float | None, like: Tensor) -> None:
        make = [_lines(side) if spacing is None else _cubic(side, spacing) for side in size]
        self.rows, self.columns = ([part.to(like) for part in parts] for parts in make)
        self.shape = self.rows[0].shape[1], self.columns[0].shape[1]
        self.pixels = size[0] * size[1]
        self.inverse = [torch.linalg.pinv(parts[0]).to(like) for parts in make]
        self.products = [[(part.T @ part).to(like) for part in parts] for parts in make]

    def every(self, block: int) -> "SplineFamily":
        """The same family, its fields by blocks of ``block`` x ``block`` pixels, whole ones, in their middle."""
        other = copy(self)
        if block > 1:
            other.rows, other.columns = (
                [F.avg_pool1d(part.T[None], block)[0].T.contiguous() for part in parts]
                for parts in (self.rows, self.columns)
            )
        return other

    def field(self, coefficients: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, H, W)."""
        return self.rows[0] @ coefficients @ self.columns[0].T

    def transpose(self, x: Tensor) -> Tensor:
        """Derivative by the coefficients from that by the field, (B, C, H, W) to (B, C, h, w)."""
        return self.rows[0].T @ x @ self.columns[0]

    def fit(self, field: Tensor) -> Tensor:
        """The coefficients of the nearest member, by least squares."""
        return self.inverse[0] @ field @ self.inverse[1].T

    def bending(self, coefficients: Tensor) -> Tensor:
        """R c, where c R c is the bending energy, the mean of u_yy^2 + 2 u_xy^2 + u_xx^2 over the pixels.

        0 for every affine field (Rueckert et al. 1999, doi:10.1109/42.796284).
        """
        y, x = self.products
        bent = y[2] @ coefficients @ x[0] + 2 * (y[1] @ coefficients @ x[1]) + y[0] @ coefficients @ x[2]
        return bent / self.pixels


def _lines(side: int) -> list[Tensor]:
    """1 and a straight line on ``side`` pixels, and their first and second derivatives, (side, 2) each."""
    place = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (side / 2)
    one, nothing = torch.ones_like(place), torch.zeros_like(place)
    return [torch.stack(pair, 1) for pair in ((one, place), (nothing, one / (side / 2)), (nothing, nothing))]


def _cubic(side: int, spacing: float) -> list[Tensor]:
    """The cubic B-splines that ``side`` pixels see, and their first and second derivatives, (side, n) each."""
    cells = max(math.ceil((side - 1) / spacing), 1)
    start = 1 + (cells - (side - 1) / spacing) / 2
    place = torch.arange(side, dtype=torch.float64) / spacing + start
    offset = place[:, None] - torch.arange(cells + 3, dtype=torch.float64)
    a, sign = offset.abs(), offset.sign()
    near, far = a < 1, (2 - a).clamp_min(0)
    value = torch.where(near, 2 / 3 - a**2 + a**3 / 2, far**3 / 6)
    first = torch.where(near, 1.5 * a**2 - 2 * a, -(far**2) / 2) * sign / spacing
    second = torch.where(near, 3 * a - 2, far) / spacing**2
    return [value, first, second]
