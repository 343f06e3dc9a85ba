"""Transforms of ITK in files that are no images (.h5, .tfm): linear, displacement fields, B-splines, composites."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from cnnreg.errors import ImageError
from cnnreg.files import replacing
from cnnreg.images.image import Grid, field_to_sitk, from_sitk

SUFFIXES = (".h5", ".hdf5", ".tfm", ".mat", ".xfm")


def is_transform_file(path: Path) -> bool:
    """Whether a file's name is that of a transform, not of an image."""
    return path.suffix.lower() in SUFFIXES


def read_itk(path: Path) -> sitk.Transform:
    """A 2D transform of physical points (x, y).

    Raises:
        ImageError: no such file, not a transform, or not 2D.
    """
    if not path.is_file():
        raise ImageError(f"there is no transform file {path}")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError:
        raise unreadable(path) from None
    if transform.GetDimension() != 2:
        raise ImageError(f"{path} holds a {transform.GetDimension()}D transform; a 2D one was expected")
    return transform


def unreadable(path: Path) -> ImageError:
    """What to say of a file that holds no transform."""
    return ImageError(
        f"{path} is not a transform: expected an ITK transform file (.tfm, .txt, .h5, .mat) or an elastix "
        f"parameter file"
    )


def is_linear(path: Path) -> bool:
    """Whether a file holds a linear transform; so is taken to be what cannot be read, which is an error later."""
    try:
        return bool(read_itk(path).IsLinear())
    except ImageError:
        return True


def sample_itk(path: Path, grid: Grid | None) -> tuple[Tensor, Grid]:
    """A transform as a field (1, 2, H, W) in pixels of ``grid``, or of the grid of its own displacement field.

    Raises:
        ImageError: it cannot be read, or has no grid of its own and is given none.
    """
    transform = read_itk(path)
    grid = grid or next(_grids(transform), None)
    if grid is None:
        raise ImageError(f"{path} does not say on which grid its field lies: give the fixed image, too")
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.size[::-1], grid.origin, grid.spacing, grid.direction
    )
    vectors = sitk.GetArrayFromImage(image)
    if not np.isfinite(vectors).all():
        raise ImageError(f"{path} holds NaN or infinite displacements")
    field = np.einsum("ij,hwj->ihw", np.linalg.inv(grid.matrix), vectors)[::-1]
    return torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))[None], grid


def write_itk(field: Tensor, grid: Grid, path: Path) -> None:
    """Write a field (1, 2, H, W) in pixels of ``grid`` as a displacement field transform."""
    transform = sitk.DisplacementFieldTransform(field_to_sitk(field[0].numpy(), grid))
    with replacing(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def _grids(transform: sitk.Transform) -> Iterator[Grid]:
    """Those of the displacement fields in it, first that which a point goes through first."""
    kind = transform.GetTransformEnum()
    if kind == sitk.sitkComposite:
        parts = sitk.CompositeTransform(transform)
        for number in reversed(range(parts.GetNumberOfTransforms())):
            yield from _grids(parts.GetNthTransform(number))
    elif kind == sitk.sitkDisplacementField:
        yield from_sitk(sitk.DisplacementFieldTransform(transform).GetDisplacementField()).grid
