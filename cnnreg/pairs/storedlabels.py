"""Label maps that are warped and written again as they were stored: palettes, colours on white, masks."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnnreg.errors import OutputError
from cnnreg.files import replacing
from cnnreg.images.image import Image, read_image, write_image
from cnnreg.pairs.intensities import luminance
from cnnreg.pairs.labelmaps import has_white_ground, palette_indices

PALETTES = (".png", ".tif", ".tiff", ".bmp")  # formats that can hold one


@dataclass(frozen=True)
class StoredLabels:
    """A label map whose background is 0, so that what lies outside of it becomes background; and what it was."""

    image: Image
    palette: bytes | None = None  # red, green and blue of every index
    negative: bool = False  # colours on white, of which the negative is taken

    def write(self, warped: Image, path: Path) -> None:
        """Write a map of these labels in the colours that they had."""
        if self.negative:
            warped = replace(warped, pixels=255 - warped.pixels)
        if self.palette is None or path.suffix not in PALETTES:
            write_image(warped, path)
            return
        from PIL import Image as PILImage

        picture = PILImage.fromarray(warped.pixels).convert("P")  # from grey, which keeps the numbers
        picture.putpalette(self.palette)
        with replacing(path) as temporary:
            try:
                picture.save(temporary)
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def read_stored(
    path: Path,
    *,
    slice_index: int | None = None,
    threshold: float | None = None,
    spacing: tuple[float, float] | None = None,
) -> StoredLabels:
    """A label map with its palette; a ``threshold`` makes 255 of what is above it, and 0 of all else.

    Raises:
        ImageError: there is no such file, or it is no image.
    """
    image = read_image(path, slice_index=slice_index, spacing=spacing)
    if threshold is not None:
        above = luminance(image.pixels) > threshold
        return StoredLabels(replace(image, pixels=above.astype(np.uint8) * np.uint8(255)))
    found = palette_indices(path, slice_index)
    if found is not None and found[0].shape == image.grid.size:
        return StoredLabels(replace(image, pixels=found[0]), found[1])
    if image.pixels.ndim == 3 and image.pixels.shape[2] == 3 and has_white_ground(image.pixels):
        return StoredLabels(replace(image, pixels=255 - image.pixels), negative=True)
    return StoredLabels(image)
