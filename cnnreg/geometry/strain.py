"""Strain of tissue from a displacement field: Green-Lagrange tensor, radial and circumferential parts, segments."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnreg.images.image import Grid

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """A sector of the region about its centre, and the mean strains in it."""

    name: str
    start: float  # degrees from the x axis of physical space towards its y axis (on most images: clockwise)
    end: float
    pixels: int
    radial: float
    circumferential: float
    shear: float


def green_lagrange(field: NDArray[Any], grid: Grid) -> Array:
    """E = (F^T F - I) / 2 with F = I + grad u, of a field (2, H, W) in pixels of ``grid``: (2, 2, H, W), (x, y).

    In physical space, so that pixels need not be square. A material at rest has 0; stretched to k times its length
    (k^2 - 1) / 2 along the stretch; rotation leaves 0 (e.g. Holzapfel, Nonlinear Solid Mechanics, 2000, eq. 2.69).
    Derivatives are central differences, one-sided at the rim.
    """
    u = np.einsum("ij,jhw->ihw", grid.matrix, np.asarray(field[::-1], dtype=np.float64))  # (x, y), physical
    by_index = np.stack([np.gradient(u, axis=2), np.gradient(u, axis=1)], axis=1)  # du_i / d(column, row)
    gradient = np.einsum("ijhw,jk->ikhw", by_index, np.linalg.inv(grid.matrix))
    deformation = gradient + np.eye(2)[..., None, None]
    return (np.einsum("kihw,kjhw->ijhw", deformation, deformation) - np.eye(2)[..., None, None]) / 2


def positions(grid: Grid) -> Array:
    """Physical place (x, y) of every pixel: (2, H, W)."""
    rows, columns = np.mgrid[: grid.size[0], : grid.size[1]]
    return np.einsum("ij,jhw->ihw", grid.matrix, np.stack([columns, rows])) + np.asarray(grid.origin)[:, None, None]


def centroid(mask: NDArray[np.bool_], grid: Grid) -> Array:
    """Physical centre (x, y) of a mask (H, W)."""
    return positions(grid)[:, mask].mean(axis=1)


def polar(tensor: Array, grid: Grid, center: Array) -> Array:
    """Radial, circumferential and shear component about ``center`` (x, y): (3, H, W); at the centre itself, NaN."""
    radius = positions(grid) - center[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        radial = radius / np.hypot(*radius)
    around = np.stack([-radial[1], radial[0]])
    return np.stack(
        [np.einsum("ihw,ijhw,jhw->hw", a, tensor, b) for a, b in ((radial, radial), (around, around), (radial, around))]
    )


def wall(mask: NDArray[np.bool_], grid: Grid, thickness: float) -> NDArray[np.bool_]:
    """The band of ``thickness``, in physical units, around a mask: the wall of a cavity."""
    from scipy.ndimage import distance_transform_edt

    distance = distance_transform_edt(~mask, sampling=grid.spacing[::-1])
    return (distance > 0) & (distance <= thickness)


def segments(
    strains: Array, region: NDArray[np.bool_], grid: Grid, center: Array, *, count: int, start: float = 0.0
) -> list[Segment]:
    """Means over ``count`` equal sectors of ``region``, the first from ``start`` degrees on, then over all of it."""
    x, y = positions(grid) - center[:, None, None]
    angle = (np.degrees(np.arctan2(y, x)) - start) % 360
    known = region & np.isfinite(strains).all(axis=0)
    width = 360 / count
    parts = [(str(n + 1), n, known & (angle // width == n)) for n in range(count)]
    found = [
        Segment(name, start + n * width, start + (n + 1) * width, *_means(strains, part)) for name, n, part in parts
    ]
    return [*found, Segment("all", start, start + 360, *_means(strains, known))]


def _means(strains: Array, part: NDArray[np.bool_]) -> tuple[int, float, float, float]:
    count = int(part.sum())
    radial, circumferential, shear = strains[:, part].mean(axis=1) if count else (np.nan,) * 3
    return count, float(radial), float(circumferential), float(shear)
