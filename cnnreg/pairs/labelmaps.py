"""Label maps and masks from files: whole numbers, 0 = background, whatever they are stored as."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnreg.errors import ImageError
from cnnreg.images.image import Grid, Image, read_image
from cnnreg.pairs.intensities import luminance

Labels = NDArray[np.int64]  # (H, W); np.uint64 where labels are beyond int64
LabelSource = Path | NDArray[Any]  # a label map or a mask, (H, W), on disk or in memory

WHITE = 0xFFFFFF
BLURRED = 8  # labels from which on a map may be a mask with blurred edges
THIN = 0.8  # of its labels between 0 and the largest one have no pixel whose neighbours share its label


def read_labels(
    source: LabelSource,
    grid: Grid,
    *,
    slice_index: int | None = None,
    threshold: float | None = None,
    mask: bool = False,
) -> Labels:
    """The label map (H, W) of an image on ``grid``, which must have as many pixels.

    ``threshold`` makes 1 of what is above it and 0 of all else. For a ``mask`` only 0 and not 0 count.
    """
    if isinstance(source, Path):
        labels, _ = read_label_map(source, slice_index=slice_index, threshold=threshold, mask=mask)
    else:
        labels = source.astype(np.int64) if threshold is None else (source > threshold).astype(np.int64)
    if labels.shape != grid.size:
        (h, w), (gh, gw) = labels.shape[:2], grid.size
        path = f"{source} " if isinstance(source, Path) else ""
        raise ImageError(f"the label map {path}is {w}x{h} pixels but its image is {gw}x{gh}; they must be alike")
    return labels


def read_label_map(
    path: Path, *, slice_index: int | None = None, threshold: float | None = None, mask: bool = False
) -> tuple[Labels, Grid]:
    """A label map (H, W) of whole numbers, 0 = background, and its own grid.

    Palette images count their indices. Colour images count each colour as a label, 0xRRGGBB, white as background where
    it is the ground; alpha is ignored.

    Raises:
        ImageError: it holds no labels: fractions, compressed or blurred edges. A ``threshold`` makes a mask of these.
    """
    image = read_image(path, slice_index=slice_index)
    if threshold is not None:
        return (luminance(image.pixels) > threshold).astype(np.int64), image.grid
    values = _numbers(image, path, slice_index, mask=mask)
    if not np.isfinite(values).all() or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        raise ImageError(
            f"{path} holds values that are not whole numbers: not a label map; --label-threshold makes a mask of it"
        )
    if image.format == "jpeg" and len(np.unique(values)) > 2:
        raise ImageError(
            f"the label map {path} is a JPEG, whose compression blurs labels; save it as PNG, or make a mask of it "
            f"with --label-threshold"
        )
    if not mask:
        _check_edges(values, path)
    beyond = values.dtype == np.uint64 and values.max(initial=0) > np.iinfo(np.int64).max
    return values if beyond else values.astype(np.int64), image.grid


def _numbers(image: Image, path: Path, page: int | None, *, mask: bool) -> NDArray[Any]:
    values = image.pixels
    if values.ndim == 2:
        return values
    if not mask and (found := palette_indices(path, page)) is not None and found[0].shape == values.shape[:2]:
        return found[0]
    colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    if (colours == colours[..., :1]).all():
        return np.asarray(colours[..., 0])
    numbers = colours.astype(np.int64) @ np.array([65536, 256, 1])
    if not mask and has_white_ground(colours):
        numbers[numbers == WHITE] = 0
    return numbers


def has_white_ground(colours: NDArray[Any]) -> bool:
    """Whether colours (H, W, 3) lie on white: nothing is black, and most of the rim is white."""
    if colours.dtype != np.uint8 or not colours.any(axis=2).all():
        return False
    rim = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    return bool((rim == 255).all(axis=1).mean() > 0.5)


def palette_indices(path: Path, page: int | None) -> tuple[NDArray[np.uint8], bytes] | None:
    """What the pixels of a palette image say before they become colours, and these; None if it is none."""
    from PIL import Image as PILImage

    try:
        with warnings.catch_warnings(action="ignore"), PILImage.open(path) as file:
            if page:
                file.seek(page)
            return (np.asarray(file), bytes(file.getpalette() or b"")) if file.mode == "P" else None
    except (OSError, EOFError):  # no picture
        return None


def _check_edges(values: NDArray[Any], path: Path) -> None:
    """Refuse a mask with blurred edges, whose every shade would be a label.

    Between 0 and its largest label lie many others, and these are but lines: no pixel has all its neighbours alike.
    """
    labels = np.unique(values)
    between = labels[(labels != 0) & (labels != labels[-1])]
    if len(between) < BLURRED or values.min() < 0:
        return
    from scipy import ndimage  # here, as it takes long to import

    alike = ndimage.minimum_filter(values, 3) == ndimage.maximum_filter(values, 3)
    thick = np.intersect1d(between, np.unique(values[alike]))
    if len(thick) <= (1 - THIN) * len(between) and (alike & (values == labels[-1])).any():
        half = float(labels[-1]) / 2
        raise ImageError(
            f"{path} looks like a mask with blurred edges: {len(between)} values between 0 and {labels[-1]} lie along "
            f"edges only; give --label-threshold {half:g} to make a mask of it"
        )
