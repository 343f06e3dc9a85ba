"""Where images, label maps and landmarks come from: a file, or the memory of a Python program."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnreg.errors import ImageError
from cnnreg.files import sha256
from cnnreg.images.image import Grid, Image, read_image


@dataclass(frozen=True, eq=False)
class Memory:
    """An image in memory, under the name by which errors and reports call it."""

    image: Image
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class PointsInMemory:
    """Points (N, 2), x and y as in a table of landmarks, under a name."""

    points: NDArray[np.float64]
    name: str

    def __str__(self) -> str:
        return self.name


Source = Path | Memory
PointsSource = Path | PointsInMemory


def open_image(source: Source, *, slice_index: int | None = None, spacing: tuple[float, float] | None = None) -> Image:
    """The image of a file or of memory, see :func:`cnnreg.images.image.read_image`."""
    if isinstance(source, Path):
        return read_image(source, slice_index=slice_index, spacing=spacing)
    if slice_index:
        raise ImageError(f"{source} is one 2D image, so slice {slice_index} does not exist")
    image = source.image
    if spacing and image.grid.plain:
        return replace(image, grid=Grid(image.grid.size, spacing, unit="mm"))
    return image


def fingerprint(source: Source | PointsSource) -> dict[str, Any]:
    """What a report tells of it: path, or name in memory, and the SHA-256 of the file, or of the numbers."""
    if isinstance(source, Path):
        return {"path": str(source), "sha256": sha256(source)}
    numbers = source.image.pixels if isinstance(source, Memory) else source.points
    return {"path": f"<{source.name}, in memory>", "sha256": hashlib.sha256(numbers.tobytes()).hexdigest()}
