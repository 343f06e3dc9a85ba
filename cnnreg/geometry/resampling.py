"""Applying a field to what people have: images of any type on their own grids, labels, points."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.geometry import fields
from cnnreg.geometry.affine import Affine
from cnnreg.images.image import Grid, Image, index_map


def between(grid: Grid, other: Grid, points: Tensor) -> Tensor:
    """Pixels of ``grid``, (1, 2, H, W), as pixels of ``other``."""
    return points if grid == other else Affine(*index_map(grid, other)).at(points)


def source_points(field: Tensor, grid: Grid, source: Grid, *, top: int = 0) -> Tensor:
    """Where each pixel of ``grid`` comes from: p + field(p), in pixels of ``source``, (1, 2, H, W).

    ``top`` is the first row of ``field`` where it is a part of one.
    """
    return between(grid, source, fields.pixel_grid(field, top=top) + field)


def regrid(field: Tensor, own: Grid, grid: Grid) -> Tensor:
    """A field (1, 2, h, w) on ``own``, in its pixels, as one on ``grid``, (1, 2, H, W); off ``own`` its rim counts."""
    if own == grid:
        return field
    identity = torch.zeros(1, 2, *grid.size, dtype=torch.float64)
    points = source_points(identity, grid, own)
    moved = between(own, grid, points + fields.sample(field.double(), points))
    return (moved - fields.pixel_grid(identity)).float()


def invert_field(field: Tensor, grid: Grid, source: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """The way back from the moving image's grid, ``source``, to the fixed image's, ``grid``, on which ``field`` lives.

    Returns:
        The inverse field (1, 2, h, w) in pixels of ``source``; its residual (h, w) in pixels of ``grid``: how far there
        and back is from where it began; and whether the way back ends in the fixed image, (h, w).
    """
    identity = torch.zeros(1, 2, *source.size)
    points = source_points(identity, source, grid)
    back, residual = fields.invert(field, points)
    origin = points + back
    moved = between(grid, source, origin)
    return moved - fields.pixel_grid(identity), residual[0], fields.inside(origin, grid.size)[0]


def warp_image(image: Image, field: Tensor, grid: Grid, *, labels: bool = False) -> Image:
    """Resample ``image``, once, onto ``grid`` through ``field`` (1, 2, H, W): own type, range and channels.

    Pixels that come from outside the image are 0, as in ITK, and NaN where the image's are missing. ``labels``
    takes the nearest pixel and makes no new value.
    Strip by strip: what a large image takes besides the result does not grow with it.
    """
    dtype = image.pixels.dtype
    pixels = np.empty((*grid.size, *image.pixels.shape[2:]), dtype)
    # float32 holds 16-bit pixels exactly; wider types are sampled in float64, whole labels as integers.
    exact = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    working = np.int64 if labels and dtype.kind in "iu" else exact
    for rows in fields.strips(field):
        points = source_points(field[:, :, rows].cpu(), grid, image.grid, top=rows.start)
        part, points = _cut(np.atleast_3d(image.pixels), points)
        tensor = torch.from_numpy(np.moveaxis(part, 2, 0)[None].astype(working))
        warped = fields.sample(tensor, points, mode="nearest" if labels else "bilinear", outside="zero")
        values = np.moveaxis(warped[0].numpy(), 0, 2)
        if dtype.kind in "iu" and not labels:
            limits = np.iinfo(dtype)
            values = np.rint(values).clip(limits.min, limits.max)
        pixels[rows] = values.astype(dtype).reshape(pixels[rows].shape)
    if image.missing is not None:  # what was not known is not made up
        lost = warp_image(Image(image.missing.astype(np.float32), image.grid), field, grid).pixels > 1e-3
        pixels[lost] = np.nan
    return Image(pixels, grid, image.format, image.suffix)


def _cut(pixels: NDArray[Any], points: Tensor) -> tuple[NDArray[Any], Tensor]:
    """The part of ``pixels`` (h, w, C) that ``points`` (1, 2, H, W) fall on, at least 2 x 2, and the points in it."""
    corner, cut = [], []
    for axis, side in zip(points[0], pixels.shape, strict=False):
        low, high = (int(end.clamp(0, side - 1)) for end in torch.aminmax(axis))
        corner.append(min(low, side - 2))
        cut.append(slice(corner[-1], high + 2))  # interpolation looks at the pixel after, too
    return pixels[tuple(cut)], points - points.new_tensor(corner).view(1, 2, 1, 1)


def warp_labels(labels: NDArray[np.int64], labels_grid: Grid, field: Tensor, grid: Grid) -> NDArray[np.int64]:
    """A label map (h, w) laid onto ``grid`` through ``field``, nearest neighbour; outside is background, 0."""
    return warp_image(Image(labels, labels_grid), field, grid, labels=True).pixels


def antialiased(pixels: NDArray[np.float32], source: Grid, grid: Grid, size: float = 1.0) -> Tensor:
    """Intensities (h, w) on ``source``, smoothed where ``grid`` is coarser, ready to be sampled: (1, 1, h, w).

    ``size`` is that of an initial alignment: how much larger a pixel of ``grid`` gets by it.
    """
    tensor = torch.from_numpy(pixels)[None, None]
    if source == grid and size == 1:
        return tensor
    reduction = size * abs(np.linalg.det(index_map(grid, source)[0])) ** 0.5  # source pixels along one of ``grid``
    return _smooth(tensor, sigma=0.5 * (reduction**2 - 1) ** 0.5) if reduction > 1.05 else tensor


def _smooth(image: Tensor, sigma: float) -> Tensor:
    radius = min(max(1, round(3 * sigma)), *(n - 1 for n in image.shape[2:]))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(image)
    image = F.conv2d(F.pad(image, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))


def shrink(image: Tensor, max_size: int) -> Tensor:
    """``image`` (B, 1, H, W) reduced, with smoothing, to at most ``max_size`` pixels along its longer side."""
    size = image.shape[2:]
    if max(size) <= max_size:
        return image
    smaller = [max(round(n * max_size / max(size)), 2) for n in size]
    return F.interpolate(image, size=smaller, mode="bilinear", antialias=True, align_corners=False)


def move_points(points: NDArray[np.float64], field: Tensor, grid: Grid, target: Grid) -> NDArray[np.float64]:
    """Points (N, 2), row and column in pixels of ``grid``, carried by ``field`` to pixels of ``target``.

    A point of the fixed image goes to the moving image. Points off the grid take the displacement of its rim.
    """
    at: Any = torch.from_numpy(points.T.reshape(1, 2, 1, -1)).to(field)
    moved = points + fields.sample(field, at)[0, :, 0].T.double().numpy()
    matrix, offset = index_map(grid, target)
    return moved if grid == target else moved @ matrix.T + offset


def move_points_back(
    points: NDArray[np.float64], field: Tensor, grid: Grid, source: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 2) in pixels of ``source``, the moving image, carried to pixels of the fixed image's ``grid``.

    Returns:
        The points, and how far each ends from where it began when it is carried there again, (N,) in pixels of
        ``grid``: large where the point has no counterpart in the fixed image.
    """
    matrix, offset = index_map(source, grid)
    goal = points if grid == source else points @ matrix.T + offset
    at = torch.from_numpy(goal.T.reshape(1, 2, 1, -1))
    back, residual = fields.invert(field.double(), at)
    return goal + back[0, :, 0].T.numpy(), residual[0, 0].numpy()
