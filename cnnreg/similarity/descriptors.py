"""Modality independent neighbourhood descriptors: what an image looks like around each pixel, whatever its contrast."""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = ((-2, 0), (2, 0), (0, -2), (0, 2), (-2, -2), (2, 2), (-2, 2), (2, -2))  # pixels: rows, columns
PATCH = 3  # side of the patches that are compared


def mind(image: Tensor) -> Tensor:
    """(B, 1, H, W) to (B, 8, H, W) in [0, 1]: how alike each pixel's patch is to its neighbours' patches.

    exp(-D / V) of the mean squared difference D of two patches, V being the mean of D over the neighbours, and divided
    by the largest (Heinrich et al. 2012, doi:10.1016/j.media.2012.05.008). Inverted and locally remapped contrast
    leave it as it is; so does noise, about. Differentiable.
    """
    height, width = image.shape[2:]
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    moved = [padded[:, :, 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in NEIGHBOURS]
    squares = (torch.cat(moved, 1) - image).square()
    distance = F.avg_pool2d(F.pad(squares, (PATCH // 2,) * 4, mode="replicate"), PATCH, 1)
    spread = distance.mean(1, keepdim=True)
    spread = spread.clamp_min(0.01 * spread.mean((2, 3), keepdim=True) + 1e-8)
    response = torch.exp(-distance / spread)
    return response / response.amax(1, keepdim=True)
