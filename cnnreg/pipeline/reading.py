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
from cnnreg.pairs.intensities import Window, intensity_window, rescale
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
    counts: Region | None  # by the mask, and known; None: everywhere
    shows: Region | None = None  # what padding leaves, where some was found; a mask knows better

    @property
    def region(self) -> Region | None:
        """Where the image counts; None: everywhere."""
        if self.shows is None or self.counts is None:
            return self.counts if self.shows is None else self.shows
        return self.counts & self.shows

    @property
    def padding(self) -> float:
        """Share of the image that was found to show nothing."""
        return 0.0 if self.shows is None else 1 - float(self.shows.mean())

    @property
    def seen(self) -> Tensor:
        """Intensities and where they count, (1, 2, H, W)."""
        region = self.region
        counts = np.ones_like(self.values) if region is None else region.astype(np.float32)
        return torch.from_numpy(np.stack([self.values, counts]))[None]

    def whole(self) -> "Side":
        """With its padding."""
        return replace(self, shows=None)


def read_side(given: Given, config: Config) -> Side:
    """Read an image, and find where it shows something.

    Raises:
        ImageError: the image or its mask cannot be used.
    """
    image = read_intensities(
        given.source, name=given.name, slice_index=given.slice_index, spacing=given.spacing, with_missing=True
    )
    window = given.window or intensity_window(image.pixels, config.input, name=given.name)
    values = rescale(image.pixels, window)
    counts = _mask(given, image)
    shows = content(values) if counts is None and config.alignment.padding == "auto" else None
    if image.missing is not None:
        counts = ~image.missing if counts is None else counts & ~image.missing
    return Side(image, window, values, counts, shows)


def _mask(given: Given, image: Image) -> Region | None:
    if given.mask is None:
        return None
    region = read_labels(given.mask, image.grid, slice_index=given.slice_index, mask=True) != 0
    if not region.any():
        raise ImageError(f"the mask {given.mask if isinstance(given.mask, Path) else 'of ' + given.name} is empty")
    return region
