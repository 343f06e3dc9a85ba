"""What a picture shows of a registration: its images, field and Jacobian, reduced to a size."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.geometry.fields import handedness, jacobian_determinant, resize, sample
from cnnreg.geometry.resampling import shrink, source_points, warp_labels
from cnnreg.pairs.dataset import resize_labels
from cnnreg.pairs.labelmaps import Labels
from cnnreg.pipeline.registration import Registration


@dataclass(frozen=True)
class Seen:
    """On the fixed grid, reduced; intensities in [0, 1]."""

    fixed: NDArray[np.float32]  # (H, W)
    moving: NDArray[np.float32]  # (H, W), before the initial transform
    warped: NDArray[np.float32]  # (H, W)
    field: NDArray[np.float32]  # (2, H, W), in pixels of the reduced grid
    jacobian: NDArray[np.float32]  # (H, W)
    outlines: tuple[Labels, Labels, Labels] | None  # label maps of the fixed, moving and warped image
    confidence: NDArray[np.float32] | None  # (2, h, w) over the image, of few cells


def seen(result: Registration, side: int) -> Seen:
    """With at most ``side`` pixels along the longer side."""
    pair, field, grid = result.pair, result.field, result.pair.fixed.grid
    determinant = handedness(field) * jacobian_determinant(field)[None]
    jacobian = fold_keeping(determinant, side)
    shown = [shrink(pair.fixed_input, side)]
    for f in (torch.zeros_like(field), field):
        shown.append(shrink(sample(pair.moving_own, source_points(f, grid, pair.moving.grid)), side))
    fixed, moving, warped, area = (image[0, 0].numpy() for image in (*shown, jacobian))
    size = fixed.shape
    confidence = result.verdict.confidence if result.verdict else None
    return Seen(fixed, moving, warped, resize(field, size)[0].numpy(), area, _label_maps(result, size), confidence)


def _label_maps(result: Registration, size: tuple[int, int]) -> tuple[Labels, Labels, Labels] | None:
    """Of the fixed image, and of the moving image before and after, where there are both."""
    pair, field = result.pair, result.field
    if pair.seg_fixed is None or pair.seg_moving is None:
        return None
    states = torch.zeros_like(field), field
    before, after = (warp_labels(pair.seg_moving, pair.moving.grid, f, pair.fixed.grid) for f in states)
    return resize_labels(pair.seg_fixed, size), resize_labels(before, size), resize_labels(after, size)


def fold_keeping(determinant: Tensor, side: int) -> Tensor:
    """Jacobian determinants (B, 1, H, W), reduced; 0 wherever any of those that make a pixel is 0 or less."""
    folds = shrink((determinant <= 0).to(determinant), side) > 0
    return shrink(determinant, side).masked_fill(folds, 0.0)
