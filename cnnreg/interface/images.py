"""Images as callers have them, on disk or in memory, and back."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from cnnreg.errors import ImageError, UsageError
from cnnreg.images.formats import FORMATS
from cnnreg.images.image import Grid, Image, from_sitk, to_sitk
from cnnreg.pairs.dataset import PointSource

AnyImage: TypeAlias = str | Path | NDArray[Any] | torch.Tensor | sitk.Image

PointTable: TypeAlias = str | Path | NDArray[Any]  # a file, or (N, 2), (x, y) in pixels


def take(image: AnyImage, *, grid: Grid | None = None, spacing: tuple[float, float] | None = None) -> Path | Image:
    """An image as the pipeline has it: a path stays one.

    Args:
        image: a path; an array (H, W) or (H, W, C); a tensor (H, W), (C, H, W) or (1, C, H, W); or a SimpleITK image.
        grid: where an array or tensor lies, if it has as many pixels; ``spacing``, (x, y) in mm, else.

    Raises:
        ImageError: it is none of these, or has another shape or type.
    """
    if isinstance(image, (str, Path)):
        return Path(image)
    if isinstance(image, sitk.Image):
        return from_sitk(image)
    pixels = _channels_last(image.detach().cpu()) if isinstance(image, torch.Tensor) else image
    if not isinstance(pixels, np.ndarray):
        kind = type(image).__name__
        raise ImageError(f"an image must be a path, an array, a tensor or a SimpleITK image, got {kind}")
    if pixels.ndim not in {2, 3} or (pixels.ndim == 3 and pixels.shape[2] > 16):
        raise ImageError(f"an image must be (H, W) or (H, W, channels), got an array of shape {pixels.shape}")
    if pixels.dtype.kind not in "buif" or pixels.dtype == np.float16:
        pixels = _as_number(pixels)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    size = pixels.shape[:2]
    if grid is None or grid.size != size:
        grid = Grid(size, spacing, unit="mm") if spacing else Grid(size)
    form = next(name for name in ("png", "tiff", "meta") if _fits(pixels, FORMATS[name].types))
    return Image(pixels, grid, form, {"png": ".png", "tiff": ".tif", "meta": ".mha"}[form])


def give(image: Image, like: AnyImage) -> Any:
    """An image in the type of ``like``: an array for a path."""
    if isinstance(like, sitk.Image):
        return to_sitk(image)
    if not isinstance(like, torch.Tensor):
        return image.pixels
    pixels = torch.from_numpy(np.ascontiguousarray(image.pixels))
    if pixels.ndim == 3:
        pixels = pixels.permute(2, 0, 1)
    return pixels.reshape(*like.shape[:-2], *pixels.shape[-2:]).to(device=like.device, dtype=like.dtype)


def take_labels(source: AnyImage | None) -> Path | NDArray[Any] | None:
    """A label map or a mask, (H, W), where there is one."""
    if source is None:
        return None
    taken = take(source)
    return taken if isinstance(taken, Path) else taken.pixels.reshape(taken.grid.size)


def take_points(points: PointTable) -> PointSource:
    """(x, y) outside, row and column inside.

    Raises:
        UsageError: an array is of another shape.
    """
    if isinstance(points, (str, Path)):
        return Path(points)
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UsageError(f"points must be (N, 2), x and y, got an array of shape {array.shape}")
    return array[:, ::-1].copy()


def _channels_last(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim == 3:
        tensor = tensor[0] if len(tensor) == 1 else tensor.permute(1, 2, 0)
    if tensor.dtype in {torch.float16, torch.bfloat16}:
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _as_number(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype == np.float16:
        return pixels.astype(np.float32)
    raise ImageError(f"an image must hold whole or floating-point numbers, got an array of {pixels.dtype}")


def _fits(pixels: NDArray[Any], types: str) -> bool:
    return pixels.dtype.str[1:] in types.split()
