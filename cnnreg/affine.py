"""Affine maps between the pixels of two images."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.fields import pixel_grid

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Affine:
    """p -> matrix @ p + offset, row and column in pixels, from one image to another."""

    matrix: Array  # (2, 2)
    offset: Array  # (2,)

    @classmethod
    def identity(cls) -> "Affine":
        return cls(np.eye(2), np.zeros(2))

    @property
    def size(self) -> float:
        """Pixels of the second image along a pixel of the first."""
        return float(abs(np.linalg.det(self.matrix)) ** 0.5)

    @property
    def turn(self) -> str:
        """By how much it turns, in words; as seen with rows downwards."""
        (a, b), (c, d) = self.matrix
        degrees = math.degrees(math.atan2(b - c, a + d))
        return f"{abs(degrees):.1f} degrees {'clockwise' if degrees > 0 else 'counter-clockwise'}"

    def __call__(self, points: Array) -> Array:
        """Points (N, 2)."""
        return points @ self.matrix.T + self.offset

    def after(self, first: "Affine") -> "Affine":
        """The map p -> self(first(p))."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def inverse(self) -> "Affine":
        """The way back."""
        matrix = np.linalg.inv(self.matrix)
        return Affine(matrix, -matrix @ self.offset)

    def at(self, points: Tensor) -> Tensor:
        """Points (B, 2, H, W)."""
        matrix, offset = (torch.from_numpy(a).to(points) for a in (self.matrix, self.offset))
        return torch.einsum("ij,bjhw->bihw", matrix, points) + offset.view(1, 2, 1, 1)

    def carry(self, field: Tensor) -> Tensor:
        """The field of p -> self(p + field(p)), both (B, 2, H, W): first the field, then this map."""
        grid = pixel_grid(field)
        return (self.at((grid + field).double()) - grid).to(field)
