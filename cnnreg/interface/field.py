"""A displacement field, and what it can be laid upon."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.errors import ImageError
from cnnreg.geometry.fields import inside
from cnnreg.geometry.resampling import invert_field, move_points, source_points, warp_image
from cnnreg.images.image import Grid, write_field
from cnnreg.images.image import read_field as read_itk_field
from cnnreg.interface.images import ImageLike, checked_points, like, on_grid, opened, to_sitk


class Field:
    """A displacement field on the fixed image's grid: a point p of it lies at p + field(p) in the moving image.

    ``np.asarray(field)`` is float32 (H, W, 2), (x, y) in physical units, what ``field.mha`` holds; ``field.yx`` is
    float32 (2, H, W), (row, column) in pixels of the fixed image.
    """

    def __init__(self, vectors: Tensor, grid: Grid, moving: Grid) -> None:
        """``vectors`` (1, 2, H, W) in pixels of ``grid``, (row, column); ``moving`` is the moving image's grid."""
        self._vectors, self._grid, self._moving = vectors, grid, moving

    @property
    def yx(self) -> NDArray[np.float32]:
        """(2, H, W): row and column, in pixels of the fixed image."""
        return self._vectors[0].numpy().copy()

    @property
    def xy(self) -> NDArray[np.float32]:
        """(H, W, 2): x and y, in physical units (pixels where the images have no geometry)."""
        vectors = np.einsum("ij,jhw->hwi", self._grid.matrix, self._vectors[0].numpy()[::-1].astype(np.float64))
        return vectors.astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the fixed image."""
        return self._grid.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.xy if dtype is None else self.xy.astype(dtype)

    def __repr__(self) -> str:
        height, width = self._grid.size
        longest = float(self._vectors.norm(dim=1).max())
        return f"<cnnreg.Field: {height} x {width} pixels, longest displacement {longest:.2f} px>"

    def apply(self, image: ImageLike, *, labels: bool = False) -> Any:
        """Warp an image that lies where the moving image lies onto the fixed image's grid; the same kind comes back.

        Args:
            image: arrays and files without geometry must have the moving image's size if that one has geometry.
            labels: take the nearest pixel, which makes no new value.

        Raises:
            ImageError: image and field do not overlap in physical space.
        """
        given = on_grid(opened(image, "the image"), self._moving, "the image")
        if not inside(source_points(self._vectors, self._grid, given.grid), given.grid.size).any():
            raise ImageError("the image and the field do not overlap in physical space")
        return like(warp_image(given, self._vectors, self._grid, labels=labels), image)

    def apply_points(self, points: Any, *, physical: bool = False) -> NDArray[np.float64]:
        """Carry points (N, 2), x and y, of the fixed image to the moving one; pixels, or physical units."""
        values = checked_points(points, "points")
        pixels = self._grid.to_pixels(values) if physical else values[:, ::-1].copy()
        moved = move_points(pixels, self._vectors, self._grid, self._moving)
        return self._moving.to_physical(moved) if physical else moved[:, ::-1].copy()

    def inverse(self) -> "Field":
        """The field on the moving image's grid that leads back to the fixed image."""
        return Field(invert_field(self._vectors, self._grid, self._moving)[0], self._moving, self._grid)

    def to_sitk(self) -> sitk.Image:
        """A vector image of float64, as SimpleITK.DisplacementFieldTransform takes it."""
        return to_sitk(self.xy.astype(np.float64), self._grid)

    def save(self, path: str | Path) -> None:
        """Write it as an ITK displacement field, such as ``field.mha``; an existing file is replaced."""
        write_field(self._vectors[0].numpy(), self._grid, Path(path))


def read_field(path: str | Path, *, moving: ImageLike | None = None) -> Field:
    """Read a saved displacement field.

    ``moving`` is the moving image, whose grid points are carried to; without it, they are carried to the field's own.

    Raises:
        ImageError: no such file, or no displacement field.
    """
    vectors, grid = read_itk_field(Path(path))
    return Field(torch.from_numpy(vectors)[None], grid, opened(moving, "moving").grid if moving is not None else grid)


def warp(image: ImageLike, field: Field | str | Path, *, labels: bool = False) -> Any:
    """Warp ``image`` onto the grid of ``field``, which may be a file; the same kind of image comes back."""
    return (field if isinstance(field, Field) else read_field(field)).apply(image, labels=labels)
