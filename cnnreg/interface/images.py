"""The images that Python programs have, and our own: NumPy arrays, torch tensors, SimpleITK images, paths.

NumPy arrays are (H, W) or (H, W, C); torch tensors (H, W), (C, H, W) or (1, C, H, W), as torch has them. Both have a
spacing of one pixel and their origin at the centre of the first; SimpleITK images and files bring their own geometry.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from cnnreg.errors import ImageError
from cnnreg.images.image import Grid, Image, read_image
from cnnreg.pairs.sources import Memory, PointsInMemory, PointsSource, Source

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[Any] | torch.Tensor | sitk.Image
PointsLike: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Sequence[Sequence[float]]

TYPES = {"b1": np.uint8, "f2": np.float32}  # held as; what comes back is of the type that came


def source(image: ImageLike, name: str) -> Source:
    """An image as the pipeline takes it; ``name`` is what errors and reports call it.

    Raises:
        ImageError: it is no image, has another shape than those above, or holds complex numbers.
    """
    if isinstance(image, str | os.PathLike):
        return Path(image)
    if isinstance(image, sitk.Image):
        return Memory(_from_sitk(image, name), name)
    if isinstance(image, torch.Tensor):
        return Memory(_from_array(_channels_last(image, name), name), name)
    if isinstance(image, np.ndarray):
        return Memory(_from_array(image, name), name)
    raise ImageError(
        f"{name} must be a path, a NumPy array, a torch tensor or a SimpleITK image, got {type(image).__name__}"
    )


def opened(image: ImageLike, name: str) -> Image:
    """An image itself; files are read."""
    given = source(image, name)
    return read_image(given) if isinstance(given, Path) else given.image


def _from_array(array: NDArray[Any], name: str) -> Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in {2, 3} or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 16):
        raise ImageError(
            f"{name} must be (H, W) or (H, W, C) with at most 16 channels, got {array.shape}; of a volume take a slice"
        )
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ImageError(f"{name} must hold whole or floating-point numbers of at most 64 bits, got {array.dtype}")
    kind = TYPES.get(array.dtype.str[1:], array.dtype.newbyteorder("="))
    pixels = np.array(array, dtype=kind, order="C")  # a copy: what the caller does to it later is not ours
    return Image(pixels, Grid((pixels.shape[0], pixels.shape[1])), "png", ".png")


def _channels_last(tensor: torch.Tensor, name: str) -> NDArray[Any]:
    shape = tuple(tensor.shape)
    if tensor.ndim == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim not in {2, 3}:
        raise ImageError(f"{name} must be a tensor (H, W), (C, H, W) or (1, C, H, W), got {shape}")
    if tensor.ndim == 3:
        if tensor.shape[0] > 16:
            raise ImageError(f"{name} must have its channels first, (C, H, W), at most 16 of them, got {shape}")
        tensor = tensor.permute(1, 2, 0)
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _from_sitk(image: sitk.Image, name: str) -> Image:
    if image.GetDimension() != 2:
        raise ImageError(f"{name} has {image.GetDimension()} dimensions {image.GetSize()}; of a volume take a slice")
    if "complex" in image.GetPixelIDTypeAsString():
        raise ImageError(f"{name} holds complex numbers; give the magnitude image")
    pixels = sitk.GetArrayFromImage(image)
    grid = Grid(pixels.shape[:2], image.GetSpacing(), image.GetOrigin(), image.GetDirection(), "mm")
    return Image(pixels, Grid(grid.size) if grid.plain else grid)


def like(image: Image, given: ImageLike) -> Any:
    """Pixels in the kind and number type of ``given``; of a path, a NumPy array."""
    pixels = image.pixels
    if isinstance(given, sitk.Image):
        return to_sitk(pixels, image.grid)
    if isinstance(given, np.ndarray):
        return pixels.astype(given.dtype, copy=False).reshape(*pixels.shape[:2], *given.shape[2:])
    if isinstance(given, torch.Tensor):
        tensor = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
        shape = (*given.shape[:-2], *pixels.shape[:2])
        return tensor.reshape(shape).to(device=given.device, dtype=given.dtype)
    return pixels


def to_sitk(pixels: NDArray[Any], grid: Grid) -> sitk.Image:
    """Pixels (H, W) or (H, W, C) as a SimpleITK image on ``grid``."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(pixels), isVector=pixels.ndim == 3)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def points_source(points: PointsLike, name: str) -> PointsSource:
    """Landmarks as the pipeline takes them: a table's path, or numbers (N, 2), x and y.

    Raises:
        ImageError: the numbers are not (N, 2), or not finite.
    """
    if isinstance(points, str | os.PathLike):
        return Path(points)
    return PointsInMemory(checked_points(points, name), name)


def checked_points(points: Any, name: str) -> NDArray[np.float64]:
    """Numbers (N, 2), finite, as float64."""
    values = np.array(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or not np.isfinite(values).all():
        raise ImageError(f"{name} must be finite numbers (N, 2), x and y, got the shape {values.shape}")
    return values


def on_grid(image: Image, grid: Grid, name: str) -> Image:
    """``image``, which says nothing of where it lies, where the image of ``grid`` lies.

    Raises:
        ImageError: it has not as many pixels.
    """
    if not image.grid.plain or grid.plain:
        return image
    if image.grid.size != grid.size:
        raise ImageError(
            f"{name} has {image.grid.size[1]}x{image.grid.size[0]} pixels and no geometry; the image that it belongs "
            f"to has {grid.size[1]}x{grid.size[0]}"
        )
    return replace(image, grid=grid)
