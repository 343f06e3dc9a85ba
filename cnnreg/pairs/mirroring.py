"""Pairs of mirror images: an affine map found by SimpleITK's registration framework, and label maps told apart."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import pixel_grid, sample
from cnnreg.geometry.resampling import warp_labels
from cnnreg.images.image import Grid, Image
from cnnreg.pairs.dataset import Pair, make_pair
from cnnreg.pairs.labelmaps import Labels


def align_affine(fixed: Tensor, moving: Tensor) -> Tensor:
    """The field (1, 2, H, W), in pixels, of the affine map that best lays ``moving`` onto ``fixed``.

    Both (1, 1, H, W) in [0, 1]. Maximises global correlation over a pyramid, from the alignment of the centres, with
    every pixel used, so that nothing is random.
    """
    images = [sitk.GetImageFromArray(x[0, 0].numpy()) for x in (fixed, moving)]
    height, width = fixed.shape[2:]
    start = sitk.AffineTransform(2)
    start.SetCenter(((width - 1) / 2, (height - 1) / 2))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=100, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(*images)
    # Three points tell an affine map; asking the transform itself keeps ITK's (x, y) on this side.
    origin, right, below = (np.array(start.TransformPoint(p)[::-1]) for p in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    affine = Affine(np.stack([below - origin, right - origin], axis=1), origin)
    return affine.carry(torch.zeros(1, 2, height, width))


def mirror_affine(image: Image, config: InputConfig, *, name: str = "image") -> Tensor:
    """The field (1, 2, H, W) of the affine map that lays an image's mirror image onto it."""
    pair = _mirrored(image, config, name)
    return align_affine(pair.fixed_input, pair.moving_input)


def mirror_pair(
    image: Image, seg: Labels | None, config: InputConfig, *, affine: Tensor | None = None, name: str = "image"
) -> Pair:
    """An image against its own left-right mirror image, affinely aligned to it, as the paper does for chest X-rays.

    Only the affine part is taken out of the moving image; what is left is for the deformable registration. A label
    map's parts are told apart by their place, so that a left lung is compared with what was the right one. ``affine``
    is :func:`mirror_affine`'s, found here where it is not given.
    """
    pair = _mirrored(image, config, name)
    if affine is None:
        affine = align_affine(pair.fixed_input, pair.moving_input)
    aligned = sample(pair.moving_input, pixel_grid(affine) + affine)
    pair = replace(pair, moving_input=aligned, moving_own=aligned)
    if seg is None:
        return pair
    parts = left_to_right(seg)
    flat = Grid(image.grid.size)
    moved = warp_labels(np.ascontiguousarray(seg[:, ::-1]), flat, affine, flat)
    return replace(pair, seg_fixed=parts, seg_moving=left_to_right(moved))


def _mirrored(image: Image, config: InputConfig, name: str) -> Pair:
    mirrored = replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]))
    return make_pair(image, mirrored, config, names=(name, f"the mirror image of {name}"))


def left_to_right(seg: Labels) -> Labels:
    """Number the connected parts of a one-label map from left to right; the two largest, which are lungs, stay."""
    if len(np.unique(seg[seg != 0])) != 1:
        return seg
    from skimage.measure import label, regionprops

    regions = sorted(regionprops(label(seg != 0)), key=lambda region: -region.area)[:2]
    parts = np.zeros_like(seg)
    for number, region in enumerate(sorted(regions, key=lambda region: region.centroid[1]), start=1):
        parts[tuple(region.coords.T)] = number
    return parts
