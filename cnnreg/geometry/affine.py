"""Maps that come before the deformation: affine, or a displacement that is known already."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.geometry.fields import compose, invert, pixel_grid, strips

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
    def mirrors(self) -> bool:
        """Whether it turns left into right."""
        return bool(np.linalg.det(self.matrix) < 0)

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

    def undo(self, points: Array) -> Array:
        """Where points (N, 2) come from."""
        return self.inverse()(points)

    def at(self, points: Tensor) -> Tensor:
        """Points (B, 2, H, W)."""
        matrix, offset = (torch.from_numpy(a).to(points) for a in (self.matrix, self.offset))
        return torch.einsum("ij,bjhw->bihw", matrix, points) + offset.view(1, 2, 1, 1)

    def carry(self, field: Tensor) -> Tensor:
        """The field of p -> self(p + field(p)), both (B, 2, H, W): first the field, then this map."""
        carried = torch.empty_like(field)
        for rows in strips(field):  # in float64, of large fields a part at a time
            grid = pixel_grid(field[:, :, rows], top=rows.start)
            carried[:, :, rows] = self.at((grid + field[:, :, rows]).double()) - grid
        return carried


@dataclass(frozen=True, eq=False)
class Displacement:
    """A field (1, 2, H, W) on the fixed image's grid, such as another registration's."""

    field: Tensor
    size = 1.0  # it is taken to keep sizes about as they are

    def carry(self, field: Tensor) -> Tensor:
        """First ``field``, (1, 2, H, W), then this one."""
        return compose(self.field, field)

    def undo(self, points: Array) -> Array:
        """Where points (N, 2) come from."""
        at = torch.from_numpy(points.T.reshape(1, 2, 1, -1).copy())
        return points + invert(self.field.double(), at)[0][0, :, 0].T.numpy()
