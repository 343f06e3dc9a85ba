"""From images, fields, label maps and landmarks to one dictionary of numbers, for every command alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.evaluation import metrics
from cnnreg.geometry.fields import handedness, jacobian_determinant, lengths, sample
from cnnreg.geometry.resampling import antialiased, move_points, source_points, warp_labels
from cnnreg.images.image import Grid, Image
from cnnreg.pairs.dataset import Pair
from cnnreg.pairs.intensities import normalise
from cnnreg.pairs.labelmaps import Labels
from cnnreg.pairs.pointfiles import Points

Measures = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What there is to measure with; every part may be missing."""

    grid: Grid | None = None  # of the fixed image
    moving_grid: Grid | None = None
    fixed: Tensor | None = None  # (1, 1, H, W) in [0, 1]
    moving: Tensor | None = None  # (1, 1, h, w) in [0, 1], on the moving grid
    seg_fixed: Labels | None = None  # on the fixed grid
    seg_moving: Labels | None = None  # on the moving grid
    points_fixed: Points | None = None  # in fixed pixels
    points_moving: Points | None = None  # in moving pixels
    known: tuple[Tensor | None, Tensor | None] = (None, None)  # 1 where fixed and moving are known; None: everywhere


def gather(pair: Pair, landmarks: tuple[Points, Points] | None) -> Evidence:
    """What a pair can be measured with; MAD and NCC do not depend on how a model likes its intensities."""
    fixed, moving = (normalise(image.pixels, InputConfig()) for image in (pair.fixed, pair.moving))
    size = pair.initial.size if pair.initial else 1.0
    points_fixed, points_moving = landmarks or (None, None)
    return Evidence(
        pair.fixed.grid,
        pair.moving.grid,
        torch.from_numpy(fixed)[None, None],
        antialiased(moving, pair.moving.grid, pair.fixed.grid, size),
        pair.seg_fixed,
        pair.seg_moving,
        points_fixed,
        points_moving,
        (known(pair.fixed), known(pair.moving)),
    )


def measure_stages(
    pair: Pair, landmarks: tuple[Points, Points] | None, fields: Mapping[str, Tensor | None]
) -> dict[str, Measures]:
    """Of a pair, after every stage, by the field of each; landmarks in the pixels of either image."""
    evidence = gather(pair, landmarks)
    return {stage: measure(evidence, field) for stage, field in fields.items()}


def measure(evidence: Evidence, field: Tensor | None) -> Measures:
    """Every number that ``evidence`` allows for ``field`` (1, 2, H, W); None stands for no registration."""
    measures: Measures = {}
    if evidence.fixed is not None and evidence.moving is not None:
        warped = _warped(evidence.fixed, evidence.moving, evidence, field)
        measures |= alikeness(evidence.fixed, warped, _known(evidence.fixed, evidence, field))
    if field is not None:
        measures |= metrics.regularity(handedness(field) * jacobian_determinant(field)[0].numpy())
        length = lengths(field)
        measures |= {"displacement_mean_px": length.mean().item(), "displacement_max_px": length.max().item()}
    if evidence.seg_fixed is not None and evidence.seg_moving is not None:
        measures["overlap"] = _overlap(evidence, field)
    if evidence.points_fixed is not None and evidence.points_moving is not None:
        measures["landmarks"] = _landmarks(evidence, field)
    return measures


def known(image: Image | None) -> Tensor | None:
    """Pixels (1, 1, H, W) of an image that are not missing; None if none is."""
    return None if image is None or image.missing is None else torch.from_numpy(~image.missing)[None, None]


def _warped(fixed: Tensor, moving: Tensor, evidence: Evidence, field: Tensor | None) -> Tensor:
    sizes = ((image.shape[2], image.shape[3]) for image in (fixed, moving))
    grid, moving_grid = (
        known or Grid(size) for known, size in zip((evidence.grid, evidence.moving_grid), sizes, strict=True)
    )
    if field is None and grid == moving_grid:
        return moving
    field = torch.zeros(1, 2, *grid.size) if field is None else field
    return sample(moving, source_points(field, grid, moving_grid))


def _known(fixed: Tensor, evidence: Evidence, field: Tensor | None) -> Tensor | None:
    """Where both images, the moving one as it is warped, are known; None: everywhere."""
    own, moving = evidence.known
    if moving is not None:
        there = _warped(fixed, moving.float(), evidence, field) > 0.99
        own = there if own is None else own & there
    return own


def alikeness(fixed: Tensor, warped: Tensor, known: Tensor | None = None) -> Measures:
    """MAD, NCC and NMI of two images (1, 1, H, W) in [0, 1], where they are ``known``."""
    a, b = (image.numpy() if known is None else image[known].numpy() for image in (fixed, warped))
    return {
        "mad": metrics.mean_absolute_difference(a, b),
        "ncc": metrics.correlation(a, b),
        "nmi": metrics.normalised_mutual_information(a, b),
    }


def spacing_mm(grid: Grid | None) -> tuple[float, float] | None:
    """Pixel spacing (row, column) in mm, or None where the file format does not say."""
    return (grid.spacing[1], grid.spacing[0]) if grid and grid.unit == "mm" else None


def _overlap(evidence: Evidence, field: Tensor | None) -> Measures:
    assert evidence.seg_fixed is not None
    assert evidence.seg_moving is not None
    grid = evidence.grid or Grid(evidence.seg_fixed.shape)
    moving_grid = evidence.moving_grid or Grid(evidence.seg_moving.shape)
    if field is None:
        field = torch.zeros(1, 2, *grid.size)
    warped = warp_labels(evidence.seg_moving, moving_grid, field, grid)
    return metrics.overlap(evidence.seg_fixed, warped, spacing_mm(grid))


def _landmarks(evidence: Evidence, field: Tensor | None) -> Measures:
    """Fixed landmarks, carried to the moving image, against their counterparts there."""
    assert evidence.points_fixed is not None
    assert evidence.points_moving is not None
    grid, moving_grid = evidence.grid, evidence.moving_grid or evidence.grid
    moved = evidence.points_fixed
    if grid and moving_grid:
        field = torch.zeros(1, 2, *grid.size) if field is None else field
        moved = move_points(moved, field, grid, moving_grid)
    diagonal = float(np.hypot(*moving_grid.size)) if moving_grid else None
    return metrics.landmark_error(moved, evidence.points_moving, spacing_mm(moving_grid), diagonal)
