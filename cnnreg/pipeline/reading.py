"""One image of a pair as it is compared: pixels, which intensities become 0 and 1, and where they count."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.config import Config
from cnnreg.errors import ImageError
from cnnreg.images.image import Image
from cnnreg.images.padding import content
from cnnreg.pairs.dataset import Source, read_intensities
from cnnreg.pairs.intensities import Window, rescaled
from cnnreg.pairs.labelmaps import LabelSource, read_labels

Spacing = tuple[float, float]  # (x, y) in mm
Region = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Given:
    """What the user says of an image."""

    source: Source
    name: str
    mask: LabelSource | None = None  # where it counts
    slice_index: int | None = None
    spacing: Spacing | None = None  # where the file does not say
    window: Window | None = None  # instead of the configuration's percentiles


@dataclass(frozen=True)
class Side:
    """One of the two images."""

    image: Image
    window: Window
    values: NDArray[np.float32]  # (H, W) in [0, 1]
    known: Region | None  # by the mask, and no NaN; None: everywhere
    region: Region | None  # where it counts: what is known and no padding; None: everywhere
    padding: float = 0.0  # share of the image that was found to show nothing

    @property
    def seen(self) -> Tensor:
        """Intensities and where they count, (1, 2, H, W)."""
        counts = np.ones_like(self.values) if self.region is None else self.region.astype(np.float32)
        return torch.from_numpy(np.stack([self.values, counts]))[None]

    def whole(self) -> "Side":
        """With its padding."""
        return replace(self, region=self.known, padding=0.0)


def read_side(given: Given, config: Config) -> Side:
    """Read an image, and find where it shows something.

    Raises:
        ImageError: the image or its mask cannot be used.
    """
    image = read_intensities(
        given.source, name=given.name, slice_index=given.slice_index, spacing=given.spacing, with_missing=True
    )
    values, window = rescaled(image.pixels, config.input, window=given.window, name=given.name)
    known = _mask(given, image)
    shows = content(values) if known is None and config.alignment.padding == "auto" else None  # a mask knows better
    if image.missing is not None:
        known = ~image.missing if known is None else known & ~image.missing
    if shows is None:
        return Side(image, window, values, known, known)
    region = shows if known is None else known & shows
    return Side(image, window, values, known, region, 1 - float(shows.mean()))


def _mask(given: Given, image: Image) -> Region | None:
    if given.mask is None:
        return None
    region = read_labels(given.mask, image.grid, slice_index=given.slice_index, mask=True) != 0
    if not region.any():
        raise ImageError(f"the mask {given.mask if isinstance(given.mask, Path) else 'of ' + given.name} is empty")
    return region
