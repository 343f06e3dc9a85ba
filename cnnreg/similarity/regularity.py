"""How irregular a field is: differentiable penalties, all of a field (B, 2, H, W) in pixels, each giving (B,)."""

import torch
from torch import Tensor


def total_variation(field: Tensor) -> Tensor:
    """TV(D) of Ferrante et al. 2018 (arXiv:1802.05984): the sum of |D(p) - D(q)| over neighbours p, q, in pixels.

    0 for every translation. The paper's weight of 1e-6 and its separate division by n in the next term say that it is
    a sum over the pixels, not a mean.
    """
    return sum(field.diff(dim=axis).abs().flatten(1).sum(1) for axis in (-2, -1))  # type: ignore[return-value]


def norm_per_pixel(field: Tensor) -> Tensor:
    """||D|| / n of the same paper: the Euclidean norm of the whole field over the number of pixels."""
    return torch.linalg.vector_norm(field.flatten(1), dim=1) / (field.shape[-2] * field.shape[-1])


def diffusion(field: Tensor) -> Tensor:
    """Mean squared gradient of the field, (px/px)^2; 0 for every translation, and independent of the image's size."""
    return sum(field.diff(dim=axis).square().sum(1).flatten(1).mean(1) for axis in (-2, -1))  # type: ignore[return-value]
