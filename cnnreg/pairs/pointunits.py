"""Whether landmarks can be meant as they are read: inside of their image, in the units that the user says."""

import numpy as np
from numpy.typing import NDArray

from cnnreg.errors import TableError
from cnnreg.images.image import Grid
from cnnreg.pairs.pointfiles import Points

FEW = 4  # points by whose spread units can be told


def check_inside(points: Points, grid: Grid, *, which: str, physical: bool) -> str:
    """What to tell of landmarks of the ``which`` image, (N, 2) in its pixels; nothing if all is as it should be.

    ``physical`` says that they were given in physical units, so that pixels may have been meant.

    Raises:
        TableError: all lie outside of the image; the units that would put them inside are named.
    """
    off = _outside(points, grid)
    given = grid.to_physical(points)[:, ::-1] if physical else points
    meant = given if physical else grid.to_pixels(points[:, ::-1])
    units = "they look like pixels: leave --physical out" if physical else "they look like mm: give --physical"
    fits = not _outside(meant, grid).any()
    size = "its {1} x {0} pixels".format(*grid.size)
    if off.all():
        hint = "check that they belong to this image and are x, y in pixels"
        if fits:
            hint = units
        elif not _outside(given[:, ::-1], grid).any():
            hint = "they look like y, x: exchange the columns"
        raise TableError(f"all landmarks of the {which} image lie outside of {size}; {hint}")
    if off.any():
        told = f"{off.sum()} of {len(off)} landmarks of the {which} image lie outside of {size}"
        return f"{told}; {units}" if fits else told
    if fits and len(points) >= FEW and _crowded(points, meant, grid):
        return f"all landmarks of the {which} image crowd in its corner; {units}"
    return ""


def _outside(points: Points, grid: Grid) -> NDArray[np.bool_]:
    """Which points, in pixels, lie more than a pixel off the image."""
    off: NDArray[np.bool_] = (points < -1.5) | (points > np.array(grid.size) + 0.5)
    return np.logical_or(off[:, 0], off[:, 1])


def _crowded(points: Points, meant: Points, grid: Grid) -> bool:
    """Whether all lie in the quarter of the image at its first pixel, and would spread over most of it as ``meant``."""
    size = np.array(grid.size)
    return bool((points < size / 2).all() and (np.ptp(meant, axis=0) > size / 2).all())
