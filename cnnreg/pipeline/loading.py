"""From files, and what their user says about them, to a pair of images that is ready to be registered."""

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
from cnnreg.pairs.dataset import (
    Labels,
    Pair,
    PairFiles,
    Points,
    make_pair,
    read_intensities,
    read_labels,
    read_landmarks,
)
from cnnreg.pairs.intensities import Window, intensity_window, rescale
from cnnreg.pairs.sources import PointsSource, Source

Spacing = tuple[float, float]  # (x, y) in mm
Regions = tuple[NDArray[np.bool_] | None, ...]  # where the fixed and the moving image count; None: everywhere


@dataclass(frozen=True)
class Request:
    """Two images to be registered. Of what comes in twos, the first is of the fixed, the second of the moving image."""

    files: PairFiles
    points: tuple[PointsSource, PointsSource] | None = None  # landmarks
    physical: bool = False  # the landmarks are physical points, not pixels
    masks: tuple[Source | None, Source | None] = (None, None)  # where the images count
    transform: Path | None = None  # the initial alignment, affine or a field, instead of the configuration's
    slice_index: int | None = None  # of volumes and stacks
    spacings: tuple[Spacing | None, Spacing | None] = (None, None)  # where the files do not say
    windows: tuple[Window | None, Window | None] = (None, None)  # instead of the configuration's percentiles


@dataclass(frozen=True)
class Inputs:
    """What was read for a registration. Of what comes in twos, the first is of the fixed, the second of the moving."""

    names: tuple[str, str]
    images: tuple[Image, Image]
    windows: tuple[Window, Window]  # the intensities that become 0 and 1
    scaled: tuple[NDArray[np.float32], NDArray[np.float32]]  # (H, W) and (h, w) in [0, 1]
    masks: Regions
    labels: tuple[Labels | None, Labels | None]
    landmarks: tuple[Points, Points] | None  # in pixels
    transform: Path | None


def read_inputs(request: Request, config: Config) -> Inputs:
    """Read and check everything that a registration was given."""
    files, index = request.files, request.slice_index
    names = str(files.fixed), str(files.moving)
    fixed, moving = _read(request, (files.fixed, files.moving))
    windows = (
        request.windows[0] or intensity_window(fixed.pixels, config.input, name=names[0]),
        request.windows[1] or intensity_window(moving.pixels, config.input, name=names[1]),
    )
    labels = (
        read_labels(files.seg_fixed, fixed.grid, slice_index=index) if files.seg_fixed else None,
        read_labels(files.seg_moving, moving.grid, slice_index=index) if files.seg_moving else None,
    )
    grids = (fixed.grid, moving.grid) if request.physical else None
    return Inputs(
        names,
        (fixed, moving),
        windows,
        (rescale(fixed.pixels, windows[0]), rescale(moving.pixels, windows[1])),
        (_mask(request, 0, fixed), _mask(request, 1, moving)),
        labels,
        read_landmarks(*request.points, physical=grids) if request.points else None,
        request.transform,
    )


def align_inputs(inputs: Inputs, config: Config) -> tuple[Pair, Initial]:
    """Find the initial transform of what was read, and bring it to one grid by it."""
    regions = masks = inputs.masks
    if config.alignment.padding == "auto":  # a mask by hand knows better
        regions = tuple(content(x) if mask is None else mask for x, mask in zip(inputs.scaled, masks, strict=True))
    try:
        pair, initial = _aligned(inputs, config, regions)
    except ImageError:
        if all(region is mask for region, mask in zip(regions, masks, strict=True)):
            raise
        regions = masks  # what was found by itself does not keep images apart that overlap
        pair, initial = _aligned(inputs, config, regions)
    a, b = (
        0.0 if region is None or region is mask else 1 - float(region.mean())
        for region, mask in zip(regions, masks, strict=True)
    )
    seg_fixed, seg_moving = inputs.labels
    return replace(pair, windows=inputs.windows, padding=(a, b), seg_fixed=seg_fixed, seg_moving=seg_moving), initial


def _aligned(inputs: Inputs, config: Config, regions: Regions) -> tuple[Pair, Initial]:
    fixed, moving = inputs.images
    initial = _initial(inputs, config, regions)
    return make_pair(
        fixed,
        moving,
        config.input,
        initial=initial.map,
        regions=regions,
        inputs=inputs.scaled,
        names=inputs.names,
    ), initial


def _read(request: Request, paths: tuple[Source, Source]) -> list[Image]:
    images = [
        read_intensities(path, slice_index=request.slice_index, spacing=spacing)
        for path, spacing in zip(paths, request.spacings, strict=True)
    ]
    asked = [(image.grid.spacing, spacing) for image, spacing in zip(images, request.spacings, strict=True) if spacing]
    if asked and all(own != spacing for own, spacing in asked):
        raise UsageError(
            f"--spacing is for images whose files do not say it; {' and '.join(map(str, paths))} say "
            + " and ".join("{:g} x {:g}".format(*own) for own, _ in asked)
        )
    return images


def _mask(request: Request, which: int, image: Image) -> NDArray[np.bool_] | None:
    path = request.masks[which]
    if path is None:
        return None
    region = read_labels(path, image.grid, slice_index=request.slice_index) != 0
    if not region.any():
        raise ImageError(f"the mask {path} is empty")
    return region


def _initial(
    inputs: Inputs,
    config: Config,
    regions: Regions,
) -> Initial:
    """From the file that the user gives, or as the configuration says."""
    fixed, moving = (image.grid for image in inputs.images)
    given, file = given_alignment(fixed, moving), inputs.transform
    if file is None:
        seen = [_seen(*parts) for parts in zip(inputs.scaled, regions, strict=True)]
        return find_initial(seen[0], seen[1], given, method=config.alignment.init)
    if is_affine(file) or not file.is_file():
        return Initial(read_affine(file, fixed, moving), given, f"from {file.name}")
    field, own = import_field(file, kind=kind_of(file), grid=fixed, moving=moving)
    return Initial(given, given, f"from the field {file.name}", Displacement(regrid(field, own, fixed)))


def _seen(pixels: NDArray[np.float32], region: NDArray[np.bool_] | None) -> Tensor:
    """Intensities in [0, 1] and where they count, (1, 2, H, W)."""
    counts = np.ones_like(pixels) if region is None else region.astype(np.float32)
    return torch.from_numpy(np.stack([pixels, counts]))[None]
