"""TIFFs that neither SimpleITK nor Pillow reads right, by tifffile."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Layout:
    """How the first page of a TIFF lies in its file."""

    tiled: bool
    planes: int  # 2: one colour after the other
    bits: int
    channels: int
    turn: int  # EXIF orientation, 1 = upright


def tiff_layout(path: Path) -> Layout:
    """Of the first page."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        page = file.pages.first
        turn = page.tags.get("Orientation")
        bits = page.bitspersample
        widest = max(bits) if isinstance(bits, tuple) else int(bits)
        return Layout(
            page.is_tiled, int(page.planarconfig), widest, page.samplesperpixel, int(turn.value) if turn else 1
        )


def read_tiff(path: Path, _name: str | None) -> sitk.Image:
    """The first page and those of its size; smaller levels of it and thumbnails are left out."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        first = file.pages.first
        pages = [page.asarray() for page in file.pages if page.shape == first.shape and page.dtype == first.dtype]
        colour = first.samplesperpixel > 1
        if colour and int(first.planarconfig) == 2:
            pages = [np.moveaxis(page, 0, -1) for page in pages]
    pixels = np.stack(pages) if len(pages) > 1 else pages[0]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    return sitk.GetImageFromArray(pixels.astype(pixels.dtype.newbyteorder("=")), isVector=colour)
