"""Landmarks that pull the field of one-shot registration: points of the fixed image and where they lie in the moving.

The energy of landmarks at p that belong at q is k / 2 * sum of |q - p - u(p)|^2, with u between the cells bilinear.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnreg.errors import ShapeError
from cnnreg.geometry.fields import inside
from cnnreg.similarity.filters import Blur


@dataclass(frozen=True)
class Landmarks:
    """Points of a fixed image, (N, 2), and the field that they ask for there, (N, 2): rows, columns, in its pixels."""

    points: Tensor
    moves: Tensor

    @classmethod
    def on(cls, fixed: Tensor, points: Tensor, moving_points: Tensor) -> "Landmarks | None":
        """Those on ``fixed``, (1, 1, H, W), if any: ``points`` (N, 2) in it belong to ``moving_points`` (N, 2)."""
        if len(fixed) != 1 or points.ndim != 2 or points.shape[1] != 2 or points.shape != moving_points.shape:
            raise ShapeError(
                f"landmarks are (N, 2) in each image of a single pair, "
                f"got {tuple(points.shape)} and {tuple(moving_points.shape)} for {len(fixed)} pairs"
            )
        points, moving_points = points.to(fixed), moving_points.to(fixed)
        height, width = fixed.shape[2:]
        seen = inside(points.T[None, :, None], (height, width))[0, 0]
        return cls(points[seen], (moving_points - points)[seen]) if seen.any() else None

    def halved(self) -> "Landmarks":
        """The same on an image of half the resolution."""
        return Landmarks((self.points + 0.5) / 2 - 0.5, self.moves / 2)


class Pull:
    """What landmarks add to the steps of a field on cells.

    Args:
        landmarks: in pixels.
        like: a field on the cells, (1, 2, h, w).
        cell: pixels along the side of a cell.
        curvature: of the landmarks' energy, per pixel, at a landmark after the blur of the steps; a single number.
        sigma: standard deviation of that blur in pixels.
    """

    def __init__(self, landmarks: Landmarks, like: Tensor, *, cell: int, curvature: Tensor, sigma: float) -> None:
        self.size, self.cell, self.moves = like.shape[2:], cell, landmarks.moves.T
        height, width = self.size
        y, x = ((landmarks.points + 0.5) / cell - 0.5).unbind(1)
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
        top, left = y.floor().clamp_(max=height - 2), x.floor().clamp_(max=width - 2)
        down, right = torch.stack([1 - y + top, y - top]), torch.stack([1 - x + left, x - left])
        self.shares = (down[:, None] * right).flatten(0, 1)  # (4, N) of the corners around each point
        first = top.long() * width + left.long()
        self.corners = torch.stack([first, first + 1, first + width, first + width + 1])
        self.k = curvature * (2 * math.pi * sigma**2)  # the blur divides a point by this area
        # Divided by what has its own width a pull would end in a cliff. By this, it is a Gaussian of 1.4 sigma.
        self.stiffness = 2 * Blur(like, math.sqrt(2) * sigma / cell)(self.splat(self.k.expand(1, len(y))))

    def sample(self, field: Tensor) -> Tensor:
        """The field (1, 2, h, w) at the landmarks, (2, N)."""
        return (field[0].flatten(1)[:, self.corners] * self.shares).sum(1)

    def splat(self, values: Tensor) -> Tensor:
        """The transpose, per pixel of a cell: (C, N) to (1, C, h, w), whose sum over all pixels is that over N."""
        spread = (values[:, None] * (self.shares / self.cell**2)).flatten(1)
        cells = values.new_zeros(len(values), self.size.numel()).index_add_(1, self.corners.flatten(), spread)
        return cells.view(1, -1, *self.size)

    def energy(self, field: Tensor) -> Tensor:
        """Of a field (1, 2, h, w): (1,)."""
        return self.k / 2 * (self.moves - self.sample(field)).square().sum().view(1)

    def downhill(self, field: Tensor) -> Tensor:
        """Minus the derivative of the energy by the field, per pixel: (1, 2, h, w)."""
        return self.splat(self.k * (self.moves - self.sample(field)))
