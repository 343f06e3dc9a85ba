"""From files, and what their user says about them, to a pair of images that is ready to be registered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.initial import Initial, find_initial, given_alignment
from cnnreg.errors import ImageError, UsageError
from cnnreg.geometry.affine import Displacement
from cnnreg.geometry.exchange import import_field, kind_of
from cnnreg.geometry.resampling import regrid
from cnnreg.geometry.transformfile import is_affine, read_affine
from cnnreg.images.image import Image
from cnnreg.images.padding import content
from cnnreg.learning.features.describing import load_features
from cnnreg.pairs.dataset import (
    Pair,
    PointSource,
    Source,
    make_pair,
    read_intensities,
    with_labels,
)
from cnnreg.pairs.intensities import Window, intensity_window, rescale
from cnnreg.pairs.labelmaps import LabelSource, read_labels
from cnnreg.pipeline.setup import Stopwatch
from cnnreg.watching import unwatched

Spacing = tuple[float, float]  # (x, y) in mm
Regions = tuple[NDArray[np.bool_] | None, ...]  # where the fixed and the moving image count; None: everywhere


@dataclass(frozen=True)
class Request:
    """Two images to be registered. Of what comes in twos, the first is of the fixed, the second of the moving image.

    Images, label maps, masks and landmarks are files or in memory.
    """

    fixed: Source
    moving: Source
    segs: tuple[LabelSource | None, LabelSource | None] = (None, None)  # label maps
    points: tuple[PointSource, PointSource] | None = None  # landmarks
    physical: bool = False  # the landmarks are physical points, not pixels
    masks: tuple[LabelSource | None, LabelSource | None] = (None, None)  # where the images count
    transform: Path | None = None  # the initial alignment, affine or a field, instead of the configuration's
    slice_index: int | None = None  # of volumes and stacks
    moving_slice: int | None = None  # of the moving image and its maps, where it is another
    label_threshold: float | None = None  # makes masks of the label maps
    spacings: tuple[Spacing | None, Spacing | None] = (None, None)  # where the files do not say
    windows: tuple[Window | None, Window | None] = (None, None)  # instead of the configuration's percentiles

    def __post_init__(self) -> None:
        if (self.segs[0] is None) != (self.segs[1] is None):
            raise UsageError("--seg-fixed and --seg-moving go together: give both or neither")
        if self.label_threshold is not None and self.segs[0] is None:
            raise UsageError("--label-threshold has no effect without label maps")
        if self.physical and not self.points:
            raise UsageError("--physical has no effect without landmarks")

    @property
    def slices(self) -> tuple[int | None, int | None]:
        """Of the fixed and of the moving image."""
        return self.slice_index, self.slice_index if self.moving_slice is None else self.moving_slice

    @property
    def paths(self) -> list[Path]:
        """All that is read from files."""
        sources = (self.fixed, self.moving, *self.segs, *self.masks, *(self.points or ()), self.transform)
        return [source for source in sources if isinstance(source, Path)]

    @property
    def names(self) -> tuple[str, str]:
        """Of the images, as titles and errors call them."""
        return _name(self.fixed, "fixed image"), _name(self.moving, "moving image")


def _name(source: Source, other: str) -> str:
    return str(source) if isinstance(source, Path) else other


def load_aligned(
    request: Request, config: Config, watch: Stopwatch, *, on_read: Callable[[Image, Image], None] = unwatched
) -> tuple[Pair, Initial]:
    """Read two images, find their initial alignment, and bring them to one grid by it.

    ``on_read`` is shown the images before any long work.
    """
    names = request.names
    with watch("read"):
        fixed, moving = _read(request)
        windows = (
            request.windows[0] or intensity_window(fixed.pixels, config.input, name=names[0]),
            request.windows[1] or intensity_window(moving.pixels, config.input, name=names[1]),
        )
        inputs = rescale(fixed.pixels, windows[0]), rescale(moving.pixels, windows[1])
        masks: Regions = (_mask(request, 0, fixed), _mask(request, 1, moving))
        regions: Regions = masks
        if config.alignment.padding == "auto":  # a mask by hand knows better
            regions = tuple(content(x) if mask is None else mask for x, mask in zip(inputs, masks, strict=True))
        regions, masks = _known(regions, (fixed, moving)), _known(masks, (fixed, moving))
    on_read(fixed, moving)

    def aligned(regions: Regions) -> tuple[Pair, Initial]:
        with watch("align"):
            initial = _initial(request, config, (fixed, moving), inputs, regions)
        with watch("read"):
            return make_pair(
                fixed, moving, config.input, initial=initial.map, regions=regions, inputs=inputs, names=names
            ), initial

    try:
        pair, initial = aligned(regions)
    except ImageError:
        if all(region is mask for region, mask in zip(regions, masks, strict=True)):
            raise
        regions = masks  # what was found by itself does not keep images apart that overlap
        pair, initial = aligned(regions)
    a, b = (
        0.0 if region is None or mask is not None else 1 - float(region.mean())
        for region, mask in zip(regions, masks, strict=True)
    )
    pair = replace(pair, windows=windows, padding=(a, b))
    return with_labels(pair, request.segs, slices=request.slices, threshold=request.label_threshold), initial


def _read(request: Request) -> list[Image]:
    images = [
        read_intensities(source, name=name, slice_index=index, spacing=spacing, with_missing=True)
        for source, name, index, spacing in zip(
            (request.fixed, request.moving), request.names, request.slices, request.spacings, strict=True
        )
    ]
    asked = [(image.grid.spacing, spacing) for image, spacing in zip(images, request.spacings, strict=True) if spacing]
    if asked and all(own != spacing for own, spacing in asked):
        raise UsageError(
            f"--spacing is for images whose files do not say it; {' and '.join(request.names)} say "
            + " and ".join("{:g} x {:g}".format(*own) for own, _ in asked)
        )
    return images


def _known(regions: Regions, images: tuple[Image, Image]) -> Regions:
    """Without the pixels that are NaN."""
    both = zip(regions, (image.missing for image in images), strict=True)
    return tuple(
        region if missing is None else ~missing if region is None else region & ~missing for region, missing in both
    )


def _mask(request: Request, which: int, image: Image) -> NDArray[np.bool_] | None:
    source = request.masks[which]
    if source is None:
        return None
    region = read_labels(source, image.grid, slice_index=request.slices[which], mask=True) != 0
    if not region.any():
        raise ImageError(f"the mask {source if isinstance(source, Path) else 'of ' + request.names[which]} is empty")
    return region


def _initial(
    request: Request,
    config: Config,
    images: tuple[Image, Image],
    inputs: tuple[NDArray[np.float32], NDArray[np.float32]],
    regions: Regions,
) -> Initial:
    """From the file that the user gives, or as the configuration says."""
    fixed, moving = (image.grid for image in images)
    given, file = given_alignment(fixed, moving), request.transform
    if file is None:
        seen = [_seen(*parts) for parts in zip(inputs, regions, strict=True)]
        spacings = fixed.spacing[::-1], moving.spacing[::-1]
        method, mirror = config.alignment.init, config.alignment.mirror == "auto"
        features = None if config.alignment.features == "none" else load_features(config.alignment.features)
        return find_initial(seen[0], seen[1], given, method=method, spacings=spacings, mirror=mirror, features=features)
    if is_affine(file) or not file.is_file():
        return Initial(read_affine(file, fixed, moving), given, f"from {file.name}")
    field, own = import_field(file, kind=kind_of(file), grid=fixed, moving=moving)
    return Initial(given, given, f"from the field {file.name}", Displacement(regrid(field, own, fixed)))


def _seen(pixels: NDArray[np.float32], region: NDArray[np.bool_] | None) -> Tensor:
    """Intensities in [0, 1] and where they count, (1, 2, H, W)."""
    counts = np.ones_like(pixels) if region is None else region.astype(np.float32)
    return torch.from_numpy(np.stack([pixels, counts]))[None]
