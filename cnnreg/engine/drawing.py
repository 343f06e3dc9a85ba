"""What the alignment looks at: an image drawn with square pixels, cut to what counts, at the size that is asked for.

An image is (1, 2, H, W): intensities in [0, 1], and a mask, 1 where they count.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.geometry.affine import Affine

MOST = 640  # root of the number of pixels
MARGIN = 0.02  # around what counts, of its longer side
THIN = 3.0  # the ratio of its sides from which an image is a strip


def draw(image: Tensor, spacing: Sequence[float] = (1.0, 1.0)) -> tuple[Tensor, Affine]:
    """The image with square pixels, and the map from these to its own; ``spacing`` is the distance of rows, columns."""
    image, corner = _cut(image)
    lengths = [n * distance for n, distance in zip(image.shape[2:], spacing, strict=True)]
    pixel = max(min(spacing), math.sqrt(math.prod(lengths)) / MOST)
    drawn, down = resized(image, [max(round(length / pixel), 8) for length in lengths])
    return drawn, Affine(np.eye(2), corner).after(down.inverse())


def _cut(image: Tensor) -> tuple[Tensor, np.ndarray]:
    """The part that holds all that counts, and its first row and column."""
    spans = []
    for dim, side in ((3, image.shape[2]), (2, image.shape[3])):
        counts = (image[:, 1:] > 0).any(dim).flatten().nonzero()
        first, last = (0, side - 1) if len(counts) == 0 else (int(counts[0]), int(counts[-1]))
        margin = 2 + round(MARGIN * (last - first))
        spans.append(slice(max(first - margin, 0), last + 1 + margin))
    return image[:, :, spans[0], spans[1]], np.array([span.start for span in spans], float)


def resized(image: Tensor, size: Sequence[int]) -> tuple[Tensor, Affine]:
    """The image at another size, and the map from its pixels to the new ones."""
    old = image.shape[2:]
    if tuple(size) == tuple(old):
        return image, Affine.identity()
    factors = np.array(size) / np.array(old)
    drawn = F.interpolate(image, size=list(size), mode="bilinear", antialias=True, align_corners=False)
    return drawn, Affine(np.diag(factors), factors / 2 - 0.5)


def scaled(image: Tensor, factor: float, *, least: int = 8) -> tuple[Tensor, Affine]:
    """The image smaller or larger by ``factor``, not below ``least`` pixels; and the map to the new pixels."""
    return resized(image, [max(round(n * factor), min(least, n)) for n in image.shape[2:]])


def shrinking(image: Tensor, side: int) -> float:
    """The factor, at most 1, that makes the longer side ``side`` pixels; of strips, which have few rows, more."""
    short, long = sorted(image.shape[2:])
    if not is_strip(image):
        return min(side / long, 1.0)
    return min(side / THIN / short, 2 * side / math.sqrt(short * long), 1.0)


def is_strip(image: Tensor) -> bool:
    """Whether it is much longer than wide."""
    return max(image.shape[2:]) > THIN * min(image.shape[2:])


def whole(mask: Tensor) -> Tensor:
    """1 where all that a pixel was made from is in the mask."""
    return (mask > 0.99).to(mask)


def shrunk_by(mask: Tensor, pixels: int) -> Tensor:
    """A mask less its rim."""
    side = 2 * pixels + 1
    return 1 - F.max_pool2d(F.max_pool2d(1 - mask, (side, 1), 1, (pixels, 0)), (1, side), 1, (0, pixels))


def boxed(image: Tensor, side: int) -> Tensor:
    """The means of windows of an odd number of pixels; at the rim, of what is left of them."""
    down = F.avg_pool2d(image, (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(down, (1, side), 1, (0, side // 2), count_include_pad=False)


def sample(images: Tensor, points: Tensor, *, outside: str) -> Tensor:
    """(K, C, h, w) at points (K, 2, H, W), row and column in pixels; ``outside`` is "border" or "zeros"."""
    height, width = images.shape[2:]
    grid = torch.stack([(points[:, 1] + 0.5) * (2 / width) - 1, (points[:, 0] + 0.5) * (2 / height) - 1], -1)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)
