"""TIFFs as tifffile knows them: what their pages are, how large a pixel is, and pixels that others misread."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.images.formats import check_size

PLAIN = {0, 1, 2}  # photometric: grey, grey with white at 0, RGB; all else needs a conversion
BY_PILLOW = {"u1", "u2", "f4", "b1"}  # types that Pillow does not turn into others
MM = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
}
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {  # by EXIF orientation, of rows and columns
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: np.rot90(pixels),
}


@dataclass(frozen=True)
class Layout:
    """What a TIFF holds, and how its first page lies in the file."""

    sizes: tuple[tuple[int, int], ...]  # (width, height) of every page, then of every smaller level (SubIFD) of one
    count: int  # of the pages themselves
    like: bool  # whether these are of one size and type
    spacing: tuple[float, float] | None  # (x, y) in mm of page 0, where OME-XML, ImageJ or a resolution tag says it
    type: str  # of the numbers, such as "u2"
    photometric: int
    turn: int  # EXIF orientation, 1 = upright
    misread: bool  # by SimpleITK, which makes 8-bit RGBA of tiles, planes, bits, turned and converted pages

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow keeps type and values."""
        return self.type in BY_PILLOW

    @property
    def by_tifffile(self) -> bool:
        """Whether the stored numbers are the pixels."""
        return self.photometric in PLAIN and self.type != "b1"

    def apart(self, page: int | None) -> bool:
        """Whether a page is to be read by itself, not as a slice of a stack."""
        levels = len(self.sizes) > self.count
        return not self.like or (levels and (self.count == 1 or (page or 0) >= self.count))

    def spacing_of(self, page: int) -> tuple[float, float] | None:
        """Of a smaller level, larger in proportion."""
        if self.spacing is None:
            return None
        (width, height), (own_width, own_height) = self.sizes[0], self.sizes[page]
        return self.spacing[0] * width / own_width, self.spacing[1] * height / own_height


def tiff_layout(path: Path) -> Layout:
    """Of a file.

    Raises:
        Exception: whatever tifffile raises at a damaged one.
    """
    from tifffile import TiffFile

    with TiffFile(path) as file:
        first = file.pages.first
        pages = [page.keyframe for page in _pages(file)]
        count = len(file.pages)
        kind = np.dtype(first.dtype).str[1:]
        turn, photometric = _tag(first, "Orientation", 1), int(first.photometric)
        odd = first.is_tiled or int(first.planarconfig) != 1 or turn != 1 or photometric not in {*PLAIN, 3}
        return Layout(
            tuple((page.imagewidth, page.imagelength) for page in pages),
            count,
            len({(page.shape, page.dtype) for page in pages[:count]}) == 1,
            _spacing(file),
            kind,
            photometric,
            turn,
            odd or kind in {"b1", "u8", "i8", "f8", "f2"},
        )


def read_tiff(path: Path, _name: str | None, page: int | None = None) -> sitk.Image:
    """One page, or all of them, which must be alike; as they are stored, but upright."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        first = _pages(file)[page or 0]
        check_size(path, (first.imagewidth, first.imagelength))
        pages = [first.asarray()] if page is not None else [each.asarray() for each in file.pages]
        colour = first.samplesperpixel > 1
        if colour and int(first.planarconfig) == 2:
            pages = [np.moveaxis(each, 0, -1) for each in pages]
        if (turn := _tag(first, "Orientation", 1)) in UPRIGHT:
            pages = [UPRIGHT[turn](each) for each in pages]
    pixels = np.stack(pages) if len(pages) > 1 else pages[0]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    pixels = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("=")))
    return sitk.GetImageFromArray(pixels, isVector=colour)


def _pages(file: Any) -> list[Any]:
    """Every page, then the smaller levels of each, as OME-TIFF and Bio-Formats store them."""
    return [*file.pages, *(level for page in file.pages for level in page.pages or ())]


def _tag(page: Any, name: str, default: int) -> int:
    found = page.tags.get(name)
    return int(found.value) if found else default


def _spacing(file: Any) -> tuple[float, float] | None:
    """OME-XML first, then ImageJ, whose unit lies beside the resolution tag, then the tag with a unit of its own."""
    if found := _ome_spacing(file.ome_metadata or ""):
        return found
    per_unit = [file.pages.first.tags.get(name) for name in ("XResolution", "YResolution")]
    if not all(tag and tag.value[0] and tag.value[1] for tag in per_unit):
        return None
    lengths = [tag.value[1] / tag.value[0] for tag in per_unit]
    if file.imagej_metadata:
        size = _in_mm(str(file.imagej_metadata.get("unit", "")))
    else:
        size = {2: 25.4, 3: 10.0}.get(_tag(file.pages.first, "ResolutionUnit", 2))
    return (lengths[0] * size, lengths[1] * size) if size else None


def _ome_spacing(xml: str) -> tuple[float, float] | None:
    """Of the first image; micrometres where no unit is told (the OME schema's default)."""
    found = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', xml)
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', xml)
        factor = _in_mm(unit[1] if unit else "um")
        try:
            found.append(float(size[1]) * factor if size and factor else 0.0)
        except ValueError:
            return None
    return (found[0], found[1]) if min(found) > 0 else None


def _in_mm(unit: str) -> float | None:
    """A unit of length in mm, whichever of the two letters for micro it is written with; None if it is none."""
    for micro in ("\\u00B5", "\\u00b5", "\u00b5", "\u03bc"):
        unit = unit.replace(micro, "u")
    return MM.get(unit.strip().lower())
