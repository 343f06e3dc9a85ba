"""A displacement field in memory: what registration gives, files hold, and other images are warped with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.errors import ImageError
from cnnreg.geometry.exchange import export_field, kind_of
from cnnreg.geometry.fields import inside, lengths
from cnnreg.geometry.itktransform import is_transform_file, sample_itk
from cnnreg.geometry.resampling import invert_field, move_points, source_points, warp_image
from cnnreg.images import image as files
from cnnreg.images.image import Grid, field_to_sitk, read_image
from cnnreg.interface.images import AnyImage, give, take
from cnnreg.pairs.storedlabels import read_stored


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement field: a point p of the fixed image lies at p + field(p) in the moving image.

    ``numpy.asarray(field)`` and :attr:`array` are the ITK displacement field, (H, W, 2), (x, y) in physical units;
    :attr:`yx` is the same in pixels of the fixed image.
    """

    tensor: Tensor  # (1, 2, H, W), row and column in pixels of ``grid``
    grid: Grid  # of the fixed image
    source: Grid  # of the moving image

    @property
    def yx(self) -> NDArray[np.float32]:
        """Displacements (2, H, W) in pixels of the fixed image: along rows (down), along columns (right)."""
        return np.array(self.tensor[0].numpy())

    @property
    def array(self) -> NDArray[np.float32]:
        """Displacements (H, W, 2), (x, y) in the fixed image's physical units (pixels where it has no spacing)."""
        return sitk.GetArrayFromImage(field_to_sitk(self.tensor[0].numpy(), self.grid)).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        return self.array if dtype is None else self.array.astype(dtype)

    def apply(self, image: AnyImage, *, labels: bool = False) -> Any:
        """``image``, of the moving image's space, resampled onto the fixed image's grid, in the type it came in.

        Own intensities, pixel type and channels; 0 where the moving image does not reach. ``labels`` takes the nearest
        pixel. An array or tensor of as many pixels as the moving image lies where that one lies.

        Raises:
            ImageError: it is no image, or does not overlap with the field.
        """
        taken = take(image, grid=self.source)
        found = taken if not isinstance(taken, Path) else read_stored(taken).image if labels else read_image(taken)
        if not inside(source_points(self.tensor, self.grid, found.grid), found.grid.size).any():
            raise ImageError("the image and the field do not overlap in physical space; check the image's geometry")
        return give(warp_image(found, self.tensor, self.grid, labels=labels), image)

    def apply_points(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points (N, 2), (x, y) in pixels of the fixed image, as pixels (x, y) of the moving image.

        Pixel (0, 0) is the centre of the first. For points of the moving image, use those of :meth:`inverse`.
        """
        given = np.asarray(points, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != 2:
            raise ImageError(f"points must be (N, 2), x and y in pixels, got an array of shape {given.shape}")
        return move_points(given[:, ::-1].copy(), self.tensor, self.grid, self.source)[:, ::-1]

    def inverse(self) -> "Field":
        """The field on the moving image's grid: a point q of it lies at q + inverse(q) in the fixed image."""
        return Field(invert_field(self.tensor, self.grid, self.source)[0].float(), self.source, self.grid)

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """For ``SimpleITK.Resample(moving, fixed, transform)``; it maps physical points of fixed to moving."""
        return sitk.DisplacementFieldTransform(field_to_sitk(self.tensor[0].numpy(), self.grid))

    def save(self, path: str | Path) -> None:
        """Write an ITK displacement field, such as ``field.mha``, or in the convention that the suffix stands for."""
        export_field(self.tensor, self.grid, Path(path), kind=kind_of(Path(path)), moving=self.source)

    def __repr__(self) -> str:
        height, width = self.grid.size
        longest = lengths(self.tensor).max().item()
        return f"<Field of {width} x {height} pixels, displacements up to {longest:.2f} px>"


def read_field(path: str | Path, *, moving: AnyImage | None = None) -> Field:
    """An ITK displacement field from a file, as ``cnnreg register`` writes it, or a transform of ITK (.h5, .tfm).

    ``moving`` is the image whose grid points are carried to; the fixed image's grid, which the file has, by default.

    Raises:
        ImageError: there is no such file, or it is no displacement field.
    """
    if is_transform_file(Path(path)):
        field, grid = sample_itk(Path(path), None)
    else:
        vectors, grid = files.read_field(Path(path))
        field = torch.from_numpy(vectors)[None]
    source = grid
    if moving is not None:
        taken = take(moving)
        source = (read_image(taken) if isinstance(taken, Path) else taken).grid
    return Field(field, grid, source)


def warp(image: AnyImage, field: "Field | str | Path", *, labels: bool = False) -> Any:
    """``image`` resampled through ``field``, or the field in a file; see :meth:`Field.apply`."""
    return (field if isinstance(field, Field) else read_field(field)).apply(image, labels=labels)
